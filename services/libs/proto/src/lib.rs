//! Every message that leaves a process, generated from `/proto`, and which of them travels on which topic.
//!
//! The modules follow the packages: `device::v1` is `platen.device.v1`.

macro_rules! packages {
    ($($(#[$doc:meta])* $area:ident = $package:literal;)*) => {
        $(
            $(#[$doc])*
            pub mod $area {
                /// Version 1.
                pub mod v1 {
                    #![allow(
                        missing_docs,
                        clippy::all,
                        clippy::use_self,
                        clippy::or_fun_call,
                        unreachable_pub
                    )]
                    tonic::include_proto!($package);
                }
            }
        )*
    };
}

packages! {
    /// `platen.device.v1`: devices and their parameters.
    device = "platen.device.v1";
    /// `platen.operation.v1`: operations on devices.
    operation = "platen.operation.v1";
    /// `platen.provisioning.v1`: profiles.
    provisioning = "platen.provisioning.v1";
    /// `platen.firmware.v1`: artifacts.
    firmware = "platen.firmware.v1";
    /// `platen.metering.v1`: meter readings.
    metering = "platen.metering.v1";
    /// `platen.event.v1`: events for customers.
    event = "platen.event.v1";
    /// `platen.tenant.v1`: tenants and API tokens.
    tenant = "platen.tenant.v1";
    /// `platen.report.v1`: payloads of the log.
    report = "platen.report.v1";
    /// `platen.store.v1`: rows of the store.
    store = "platen.store.v1";
}

pub mod diagnostic;
pub mod topic;

/// The descriptors of every package, with source comments and HTTP bindings, as an encoded `FileDescriptorSet`:
/// for gRPC reflection, the REST gateway and the OpenAPI document.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
