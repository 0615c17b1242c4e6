//! TR-069 (CWMP 1.0 to 1.4) without I/O: envelopes, remote procedure calls, faults and the session machines of both peers.
//!
//! Nothing here opens a socket, reads a clock or draws a random number: bytes, times and randomness come in as arguments,
//! bytes and decisions go out. [`acs::Session`] is the server's side of a session, [`cpe::Session`] the device's; both are
//! plain data that can be stored between two POSTs.
//!
//! Rule of thumb: strict in what is written, tolerant in what is read, never tolerant in identity, authentication and limits.
//! What was tolerated is reported as [`soap::Repairs`].
//!
//! A session in which the server asks for one value:
//!
//! ```
//! use platen_cwmp::{acs, cpe, rpc::*, soap::Version};
//!
//! let opening = cpe::Opening { inform: Inform::default(), version: Version::V1_4, session_timeout: None };
//! let (mut device, post) = cpe::Session::open(opening)?;
//! let mut server = acs::Session::new("8f3a", acs::Limits::default());
//!
//! // Inform and InformResponse. What the device said is published before it is answered.
//! let step = server.receive(acs::Post::read(&post, None)?)?;
//! assert_eq!(step.turn(), acs::Turn::Reply);
//! let answer = server.reply(acs::Answer::Usual)?;
//! let cpe::Next::Post(post) = device.receive(200, &answer, None)?.next else { panic!() };
//!
//! // The device has nothing else to say.
//! assert!(post.is_empty());
//! let step = server.receive(acs::Post::read(&post, None)?)?;
//! assert_eq!(step.turn(), acs::Turn::Ours);
//! let names = vec!["Device.DeviceInfo.SoftwareVersion".to_owned()];
//! let call = server.call("command-1", &AcsRequest::GetParameterValues(GetParameterValues { names }))?;
//! let cpe::Next::Serve(request) = device.receive(200, &call, None)?.next else { panic!() };
//!
//! assert_eq!(request.method(), "GetParameterValues");
//! let parameters = vec![ParameterValue::string("Device.DeviceInfo.SoftwareVersion", "1.4")];
//! let post = device.respond(Ok(CpeResponse::GetParameterValues(GetParameterValuesResponse { parameters })))?;
//! let acs::Step::Report(report) = server.receive(acs::Post::read(&post, None)?)? else { panic!() };
//! assert!(matches!(report.said, acs::Said::Response { tag, .. } if tag == "command-1"));
//!
//! // 204: the end.
//! server.end();
//! assert_eq!(device.receive(204, b"", None)?.next, cpe::Next::Done);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![warn(missing_docs)]
#![warn(clippy::wildcard_enum_match_arm)]

pub mod acs;
pub mod cpe;
pub mod date_time;
pub mod digest;
pub mod event_code;
pub mod fault;
pub mod identity;
pub mod rpc;
pub mod soap;
