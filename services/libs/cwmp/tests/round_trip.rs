//! What one peer writes, the other reads: every method, every field, whatever the texts hold.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

mod messages;

use messages::{
    acs_request, acs_response, cpe_request, cpe_response, fault, header, namespace, text,
};
use platen_cwmp::{
    acs::{Objection, Post},
    date_time::DateTime,
    rpc::{CpeRequest, Inform},
    soap::{AcsMessage, CpeMessage, Envelope, Header, Namespace, Repair, decode_body},
};
use proptest::{collection::vec, option, prelude::*};

fn check_cpe(namespace: Namespace, header: Header, message: CpeMessage) {
    let envelope = Envelope {
        namespace,
        header,
        message,
    };
    let xml = envelope.to_xml().unwrap();
    let received = Envelope::read_from_cpe(&xml).unwrap_or_else(|error| panic!("{error}: {xml}"));
    assert_eq!(received.as_written(), Ok(envelope), "{xml}");
}

fn check_acs(namespace: Namespace, header: Header, message: AcsMessage) {
    let envelope = Envelope {
        namespace,
        header,
        message,
    };
    let xml = envelope.to_xml().unwrap();
    let received = Envelope::read_from_acs(&xml).unwrap_or_else(|error| panic!("{error}: {xml}"));
    assert_eq!(received.as_written(), Ok(envelope), "{xml}");
}

proptest! {
    /// A device's time comes as the device writes it, whatever that is.
    #[test]
    fn times_are_kept_as_written(time in text(40)) {
        let inform = Inform { current_time: DateTime::from_text(time), ..Inform::default() };
        check_cpe(Namespace::default(), Header::with_id("1"), CpeMessage::Request(CpeRequest::Inform(inform)));
    }

    #[test]
    fn the_server_reads_what_a_device_requests(namespace in namespace(), header in header(), request in cpe_request()) {
        check_cpe(namespace, header, CpeMessage::Request(request));
    }

    #[test]
    fn the_server_reads_what_a_device_answers(namespace in namespace(), header in header(), response in cpe_response()) {
        check_cpe(namespace, header, CpeMessage::Response(response));
    }

    #[test]
    fn a_device_reads_what_the_server_requests(namespace in namespace(), header in header(), request in acs_request()) {
        check_acs(namespace, header, AcsMessage::Request(request));
    }

    #[test]
    fn a_device_reads_what_the_server_answers(namespace in namespace(), header in header(), response in acs_response()) {
        check_acs(namespace, header, AcsMessage::Response(response));
    }

    #[test]
    fn both_read_faults(namespace in namespace(), header in header(), fault in fault()) {
        check_cpe(namespace, header.clone(), CpeMessage::Fault(fault.clone()));
        check_acs(namespace, header, AcsMessage::Fault(fault));
    }

    /// An envelope in which bytes were overwritten, cut out or doubled: read or refused, never a panic.
    #[test]
    fn damaged_envelopes_are_read_or_refused(
        request in cpe_request(),
        damage in vec((any::<prop::sample::Index>(), any::<u8>(), 0_usize..3), 1..6),
    ) {
        let message = CpeMessage::Request(request);
        let xml = Envelope { namespace: Namespace::default(), header: Header::with_id("1"), message }.to_xml().unwrap();
        let mut bytes = xml.into_bytes();
        for (at, byte, kind) in damage {
            let at = at.index(bytes.len());
            match kind {
                0 => bytes[at] = byte,
                1 => bytes.truncate(at.max(1)),
                _ => bytes.insert(at, byte),
            }
        }
        if let Ok(post) = Post::read(&bytes, None) {
            // Whoever is strict refuses what needed repair.
            let is_repaired = post.repairs().iter().any(Repair::is_of_form);
            prop_assert!(!is_repaired || post.objection() == Some(Objection::Form));
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in vec(any::<u8>(), 0..400), charset in option::of("[ -~]{0,40}")) {
        let (text, _) = decode_body(&bytes, charset.as_deref());
        let from_acs = Envelope::read_from_acs(&text);
        let from_cpe = Envelope::read_from_cpe(&text);
        // What decides whether an envelope is readable is the same for both directions.
        prop_assert_eq!(from_acs.is_ok(), from_cpe.is_ok());
    }
}
