//! Which parts of Platen a process runs.

use clap::{Args, ValueEnum};
use std::{collections::BTreeSet, fmt};

/// A part of Platen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Role {
    Edge,
    Inventory,
    Provisioning,
    Firmware,
    Metering,
    Northbound,
}

impl Role {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Edge => "edge",
            Self::Inventory => "inventory",
            Self::Provisioning => "provisioning",
            Self::Firmware => "firmware",
            Self::Metering => "metering",
            Self::Northbound => "northbound",
        }
    }
}

/// How roles are asked for on the command line.
#[derive(Debug, Args)]
pub(crate) struct RolesArgs {
    /// Parts to run; default: all of them, as they must while store and bus are embedded.
    #[arg(long, value_enum, value_delimiter = ',')]
    roles: Vec<Role>,
}

impl RolesArgs {
    pub(crate) fn roles(&self) -> Roles {
        Roles::of(&self.roles)
    }
}

/// The parts of one process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Roles(BTreeSet<Role>);

impl Roles {
    /// These, or all if there are none.
    pub(crate) fn of(roles: &[Role]) -> Self {
        let roles = if roles.is_empty() {
            Role::value_variants()
        } else {
            roles
        };
        Self(roles.iter().copied().collect())
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Role> {
        self.0.iter().copied()
    }

    pub(crate) fn has(&self, role: Role) -> bool {
        self.0.contains(&role)
    }

    /// Those that it lacks.
    pub(crate) fn others(&self) -> Self {
        let all = Role::value_variants().iter().copied();
        Self(all.filter(|role| !self.has(*role)).collect())
    }

    pub(crate) fn are_all(&self) -> bool {
        self.0.len() == Role::value_variants().len()
    }

    /// There is nothing to do without the log, and no edge among them, which has its own word on that.
    pub(crate) fn follow_the_log(&self) -> bool {
        !self.has(Role::Edge) && self.0 != BTreeSet::from([Role::Northbound])
    }

    /// Sessions are kept, or decided within.
    pub(crate) fn need_sessions(&self) -> bool {
        self.has(Role::Edge) || self.has(Role::Provisioning)
    }

    /// Files are taken or given.
    pub(crate) fn need_files(&self) -> bool {
        self.has(Role::Edge) || self.has(Role::Northbound)
    }
}

impl fmt::Display for Roles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.iter().map(Role::name).collect();
        f.write_str(&names.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn none_named_are_all() {
        let all = Roles::of(&[]);
        assert!(all.are_all() && all.need_files() && all.need_sessions());
        assert_eq!(all, Roles::of(Role::value_variants()));
        assert_eq!(
            all.to_string(),
            "edge,inventory,provisioning,firmware,metering,northbound"
        );
    }

    #[test]
    fn some_lack_the_others() {
        let all = Roles::of(&[]);
        let some = Roles::of(&[Role::Northbound, Role::Edge, Role::Edge]);
        assert_eq!(some.to_string(), "edge,northbound");
        assert_eq!(
            some.others().to_string(),
            "inventory,provisioning,firmware,metering"
        );
        assert!(!some.are_all());
        let metering = Roles::of(&[Role::Metering]);
        assert!(!metering.need_files() && !metering.need_sessions());
        assert!(metering.follow_the_log() && !all.follow_the_log());
        assert!(!Roles::of(&[Role::Northbound]).follow_the_log());
    }

    /// What the command line takes is what logs and metrics show.
    #[test]
    fn names_are_those_of_the_command_line() {
        for role in Role::value_variants() {
            assert_eq!(role.to_possible_value().unwrap().get_name(), role.name());
        }
    }
}
