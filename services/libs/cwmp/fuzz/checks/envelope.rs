//! Any body is read or refused, and what was read survives being written and read again.

use platen_cwmp::{
    acs::{Objection, Post},
    soap::{Envelope, Repair, decode_body},
};

pub(crate) fn check(data: &[u8]) {
    if let Ok(post) = Post::read(data, None) {
        assert!(
            !post.repairs().iter().any(Repair::is_of_form)
                || post.objection() == Some(Objection::Form),
            "whoever is strict refuses what needed repair"
        );
    }

    let (text, _) = decode_body(data, None);
    if let Ok(received) = Envelope::read_from_cpe(&text)
        && let Ok(xml) = received.envelope.to_xml()
    {
        // A value without type comes back as a string, so it is the second generation that has to equal the third.
        let second = Envelope::read_from_cpe(&xml)
            .expect("what we write can be read")
            .as_written()
            .expect("what we write needs no repair");
        let xml = second
            .to_xml()
            .expect("what was written once can be written again");
        let third = Envelope::read_from_cpe(&xml)
            .expect("what we write can be read")
            .as_written()
            .expect("what we write needs no repair");
        assert_eq!(second, third);
    }
    if let Ok(received) = Envelope::read_from_acs(&text)
        && let Ok(xml) = received.envelope.to_xml()
    {
        let second = Envelope::read_from_acs(&xml)
            .expect("what we write can be read")
            .as_written()
            .expect("what we write needs no repair");
        let xml = second
            .to_xml()
            .expect("what was written once can be written again");
        let third = Envelope::read_from_acs(&xml)
            .expect("what we write can be read")
            .as_written()
            .expect("what we write needs no repair");
        assert_eq!(second, third);
    }
}
