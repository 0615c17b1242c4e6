//! Who calls, and what they may: one table of methods and roles, in which every method of the API must stand.

use crate::refusal::Refusal;
use platen_ids::TenantId;
use platen_proto::tenant::v1::token::Role as ProtoRole;

/// What a token may do. Ordered: the higher one may all that the lower one may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Role {
    /// Reads inside its tenant.
    Viewer,
    /// Everything inside its tenant, but its policy.
    Operator,
    /// Every tenant.
    Admin,
}

impl Role {
    /// The role in a stored token; one that this release does not know may nothing.
    pub(crate) fn of(role: ProtoRole) -> Option<Self> {
        match role {
            ProtoRole::Unspecified => None,
            ProtoRole::Viewer => Some(Self::Viewer),
            ProtoRole::Operator => Some(Self::Operator),
            ProtoRole::Admin => Some(Self::Admin),
        }
    }
}

/// Who calls: an extension of every request that was let in.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    /// The token's tenant.
    pub(crate) tenant: TenantId,
    pub(crate) role: Role,
    /// `users/{user}`.
    pub(crate) user: String,
    /// Hash of the token, by which it is found.
    pub(crate) token: String,
}

impl Caller {
    /// The caller of a request.
    pub(crate) fn of<T>(request: &tonic::Request<T>) -> Result<Self, Refusal> {
        request
            .extensions()
            .get::<Self>()
            .cloned()
            .ok_or(Refusal::Unauthenticated("no token"))
    }

    /// Whether the caller may see anything of this tenant. If not, the tenant does not exist for them, and neither does `name` in it.
    pub(crate) fn enters(&self, tenant: &TenantId, name: &str) -> Result<(), Refusal> {
        if self.role == Role::Admin || self.tenant == *tenant {
            Ok(())
        } else {
            Err(Refusal::NotFound(name.to_owned()))
        }
    }
}

/// The lowest role that may call a method (`/platen.device.v1.DeviceService/GetDevice`). `None`: nobody may.
pub(crate) fn needed(path: &str) -> Option<Role> {
    POLICY
        .iter()
        .find(|(method, _)| *method == path)
        .map(|(_, role)| *role)
}

/// The table. Methods that do not stand in it are refused.
pub(crate) const POLICY: &[(&str, Role)] = &[
    (
        "/platen.device.v1.DeviceService/CreateDevice",
        Role::Operator,
    ),
    ("/platen.device.v1.DeviceService/GetDevice", Role::Viewer),
    ("/platen.device.v1.DeviceService/LookupDevice", Role::Viewer),
    ("/platen.device.v1.DeviceService/ListDevices", Role::Viewer),
    (
        "/platen.device.v1.DeviceService/UpdateDevice",
        Role::Operator,
    ),
    (
        "/platen.device.v1.DeviceService/RetireDevice",
        Role::Operator,
    ),
    (
        "/platen.device.v1.DeviceService/AdmitDevice",
        Role::Operator,
    ),
    (
        "/platen.device.v1.DeviceService/DeleteDevice",
        Role::Operator,
    ),
    (
        "/platen.device.v1.DeviceService/ListParameters",
        Role::Viewer,
    ),
    (
        "/platen.operation.v1.OperationService/CreateOperation",
        Role::Operator,
    ),
    (
        "/platen.operation.v1.OperationService/GetOperation",
        Role::Viewer,
    ),
    (
        "/platen.operation.v1.OperationService/ListOperations",
        Role::Viewer,
    ),
    (
        "/platen.operation.v1.OperationService/CancelOperation",
        Role::Operator,
    ),
    ("/platen.event.v1.EventService/ListEvents", Role::Viewer),
    ("/platen.event.v1.EventService/WatchEvents", Role::Viewer),
    (
        "/platen.metering.v1.ReadingService/ListReadings",
        Role::Viewer,
    ),
    (
        "/platen.metering.v1.ReadingService/VerifyLedger",
        Role::Viewer,
    ),
    (
        "/platen.firmware.v1.ArtifactService/CreateArtifact",
        Role::Operator,
    ),
    (
        "/platen.firmware.v1.ArtifactService/UploadArtifact",
        Role::Operator,
    ),
    (
        "/platen.firmware.v1.ArtifactService/GetArtifact",
        Role::Viewer,
    ),
    (
        "/platen.firmware.v1.ArtifactService/ListArtifacts",
        Role::Viewer,
    ),
    (
        "/platen.firmware.v1.ArtifactService/DeleteArtifact",
        Role::Operator,
    ),
    (
        "/platen.provisioning.v1.ProfileService/CreateProfile",
        Role::Operator,
    ),
    (
        "/platen.provisioning.v1.ProfileService/GetProfile",
        Role::Viewer,
    ),
    (
        "/platen.provisioning.v1.ProfileService/ListProfiles",
        Role::Viewer,
    ),
    (
        "/platen.provisioning.v1.ProfileService/UpdateProfile",
        Role::Operator,
    ),
    (
        "/platen.provisioning.v1.ProfileService/DeleteProfile",
        Role::Operator,
    ),
    // A tenant's policy says which networks Platen may call: not for the tenant itself to widen.
    ("/platen.tenant.v1.TenantService/CreateTenant", Role::Admin),
    ("/platen.tenant.v1.TenantService/GetTenant", Role::Viewer),
    ("/platen.tenant.v1.TenantService/ListTenants", Role::Admin),
    ("/platen.tenant.v1.TenantService/UpdateTenant", Role::Admin),
    ("/platen.tenant.v1.TokenService/CreateToken", Role::Operator),
    ("/platen.tenant.v1.TokenService/ListTokens", Role::Operator),
    ("/platen.tenant.v1.TokenService/DeleteToken", Role::Operator),
    ("/grpc.health.v1.Health/Check", Role::Viewer),
    ("/grpc.health.v1.Health/List", Role::Viewer),
    ("/grpc.health.v1.Health/Watch", Role::Viewer),
    (
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        Role::Viewer,
    ),
];

#[cfg(test)]
mod tests {
    use super::*;
    use prost_reflect::DescriptorPool;
    use std::collections::BTreeSet;

    #[test]
    fn every_method_has_a_role_and_every_line_a_method() {
        let pool = DescriptorPool::decode(platen_proto::DESCRIPTORS).unwrap();
        let methods: BTreeSet<String> = pool
            .services()
            .flat_map(|service| {
                service
                    .methods()
                    .map(|method| format!("/{}/{}", service.full_name(), method.name()))
                    .collect::<Vec<_>>()
            })
            .collect();
        let lines: BTreeSet<String> = POLICY
            .iter()
            .map(|(path, _)| (*path).to_owned())
            .filter(|path| path.starts_with("/platen."))
            .collect();

        assert_eq!(methods, lines);
    }

    #[test]
    fn what_changes_something_is_not_for_viewers() {
        for (path, role) in POLICY {
            let method = path.rsplit('/').next().unwrap();
            let reads = [
                "Get",
                "List",
                "Lookup",
                "Watch",
                "Verify",
                "Check",
                "ServerReflection",
            ]
            .iter()
            .any(|verb| method.starts_with(verb));
            assert!(reads || *role > Role::Viewer, "{path}");
        }
        assert_eq!(needed("/platen.device.v1.DeviceService/Nothing"), None);
    }

    #[test]
    fn another_tenants_things_do_not_exist() {
        let tenant = |id| TenantId::new(id).unwrap();
        let caller = |role| Caller {
            tenant: tenant("a"),
            role,
            user: "users/x".into(),
            token: String::new(),
        };
        for (role, asked, enters) in [
            (Role::Viewer, "a", true),
            (Role::Operator, "a", true),
            (Role::Viewer, "b", false),
            (Role::Operator, "b", false),
            (Role::Admin, "b", true),
        ] {
            assert_eq!(
                caller(role).enters(&tenant(asked), "tenants/b").is_ok(),
                enters
            );
        }
    }
}
