//! How a server ends: what is open finishes, what is new waits for the next process.

use crate::{
    printer::Printer,
    server::{Home, Server, eventually},
};
use platen_cwmp::event_code::EventCode;
use platen_swarm::session::Broken;

#[tokio::test]
async fn open_sessions_finish_and_new_ones_are_turned_away() {
    let home = Home::new();
    let server = Server::start(&home).await;
    let mut printers = Vec::new();
    for serial in ["SN1", "SN2"] {
        let credentials = server.register("00D09E", "P", serial).await;
        printers.push(Printer::new(
            "00D09E",
            "P",
            serial,
            server.peer("default", Some(credentials)).await,
        ));
    }
    let [open, late] = &mut printers[..] else {
        panic!("there are two")
    };
    late.call(&[EventCode::Periodic]).await.unwrap();
    assert_eq!(
        open.begin().await,
        200,
        "the Inform is acknowledged, the session open"
    );

    server.signal();

    eventually("new sessions are turned away", async || {
        match late.call(&[EventCode::Periodic]).await {
            Ok(()) => None,
            Err(Broken::Busy | Broken::Http(_)) => Some(()),
            Err(other) => panic!("a draining server answers {other}"),
        }
    })
    .await;
    assert_eq!(
        open.post("").await.0,
        204,
        "the open session ends as it should"
    );
    assert_eq!(server.ended().await.code(), Some(0));

    let server = Server::start(&home).await;
    let informs = server.informs(&open.path()).await;
    assert_eq!(informs.len(), 1, "{informs:?}");
}
