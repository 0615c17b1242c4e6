//! Every message that leaves a process, generated from `/proto`, and which of them travels on which topic.
//!
//! The modules follow the packages: `device::v1` is `platen.device.v1`.

/// `platen.device.v1`: devices and their parameters.
pub mod device {
    /// Version 1.
    pub mod v1 {
        #![allow(
            missing_docs,
            clippy::all,
            clippy::use_self,
            clippy::or_fun_call,
            unreachable_pub
        )]
        tonic::include_proto!("platen.device.v1");
    }
}

/// `platen.operation.v1`: operations on devices.
pub mod operation {
    /// Version 1.
    pub mod v1 {
        #![allow(
            missing_docs,
            clippy::all,
            clippy::use_self,
            clippy::or_fun_call,
            unreachable_pub
        )]
        tonic::include_proto!("platen.operation.v1");
    }
}

/// `platen.provisioning.v1`: profiles.
pub mod provisioning {
    /// Version 1.
    pub mod v1 {
        #![allow(
            missing_docs,
            clippy::all,
            clippy::use_self,
            clippy::or_fun_call,
            unreachable_pub
        )]
        tonic::include_proto!("platen.provisioning.v1");
    }
}

/// `platen.firmware.v1`: artifacts.
pub mod firmware {
    /// Version 1.
    pub mod v1 {
        #![allow(
            missing_docs,
            clippy::all,
            clippy::use_self,
            clippy::or_fun_call,
            unreachable_pub
        )]
        tonic::include_proto!("platen.firmware.v1");
    }
}

/// `platen.metering.v1`: meter readings.
pub mod metering {
    /// Version 1.
    pub mod v1 {
        #![allow(
            missing_docs,
            clippy::all,
            clippy::use_self,
            clippy::or_fun_call,
            unreachable_pub
        )]
        tonic::include_proto!("platen.metering.v1");
    }
}

/// `platen.event.v1`: events for customers.
pub mod event {
    /// Version 1.
    pub mod v1 {
        #![allow(
            missing_docs,
            clippy::all,
            clippy::use_self,
            clippy::or_fun_call,
            unreachable_pub
        )]
        tonic::include_proto!("platen.event.v1");
    }
}

/// `platen.tenant.v1`: tenants and API tokens.
pub mod tenant {
    /// Version 1.
    pub mod v1 {
        #![allow(
            missing_docs,
            clippy::all,
            clippy::use_self,
            clippy::or_fun_call,
            unreachable_pub
        )]
        tonic::include_proto!("platen.tenant.v1");
    }
}

/// `platen.report.v1`: payloads of the log.
pub mod report {
    /// Version 1.
    pub mod v1 {
        #![allow(
            missing_docs,
            clippy::all,
            clippy::use_self,
            clippy::or_fun_call,
            unreachable_pub
        )]
        tonic::include_proto!("platen.report.v1");
    }
}

/// `platen.store.v1`: rows of the store.
pub mod store {
    /// Version 1.
    pub mod v1 {
        #![allow(
            missing_docs,
            clippy::all,
            clippy::use_self,
            clippy::or_fun_call,
            unreachable_pub
        )]
        tonic::include_proto!("platen.store.v1");
    }
}

pub mod topic;

/// The descriptors of every package, with source comments and HTTP bindings, as an encoded `FileDescriptorSet`:
/// for gRPC reflection, the REST gateway and the OpenAPI document.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
