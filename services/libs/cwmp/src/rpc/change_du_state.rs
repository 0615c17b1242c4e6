//! ChangeDUState, and how its operations ended: DUStateChangeComplete and AutonomousDUStateChangeComplete
//! (TR-069 A.4.1.10, A.4.2.3, A.4.2.4).
//!
//! The schema has no array here: `Operations` and `Results` are elements that repeat. Some devices nest the structures in
//! one such element all the same, which is read as well.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{
    date_time::DateTime,
    fault::FaultStruct,
    soap::{
        Repair,
        element::{Element, sequence},
        reader::{Malformed, Reader, Tag},
        writer::Writer,
    },
};

/// Installs, updates and uninstalls deployment units, each operation for itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangeDuState {
    /// The operations, in order.
    pub operations: Vec<Operation>,
    /// Comes back in DUStateChangeComplete and the `M ChangeDUState` event; at most 32 characters.
    pub command_key: String,
}

/// What to do with a deployment unit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Operation {
    /// Install a deployment unit.
    Install(Install),
    /// Update deployment units.
    Update(Update),
    /// Remove a deployment unit.
    Uninstall(Uninstall),
}

/// Arguments of an installation.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Install {
    /// Where the unit is; at most 1024 characters.
    pub url: String,
    /// Its UUID; empty: the device makes it.
    pub uuid: String,
    /// User name for the file server; may be empty.
    pub username: String,
    /// Password for the file server; may be empty.
    pub password: String,
    /// Path of the execution environment; empty: the device chooses.
    pub execution_env_ref: String,
}

/// Arguments of an update.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Update {
    /// Which unit; empty: the one of `url`, or all.
    pub uuid: String,
    /// The version to update; may be empty.
    pub version: String,
    /// Where the new version is; empty: where the old one came from.
    pub url: String,
    /// User name for the file server; may be empty.
    pub username: String,
    /// Password for the file server; may be empty.
    pub password: String,
}

/// Arguments of a removal.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Uninstall {
    /// Which unit.
    pub uuid: String,
    /// Which version; empty: all.
    pub version: String,
    /// In which execution environment; empty: in all.
    pub execution_env_ref: String,
}

/// How the operations of a ChangeDUState ended.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DuStateChangeComplete {
    /// By the standard one per operation, in their order.
    pub results: Vec<OperationResult>,
    /// Command key of the request.
    pub command_key: String,
}

/// Operations on deployment units that the server did not ask for are over.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AutonomousDuStateChangeComplete {
    /// One per operation.
    pub results: Vec<AutonomousOperationResult>,
}

/// How an operation ended.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperationResult {
    /// The unit's UUID.
    pub uuid: String,
    /// Path of the unit in the device's tree; empty once it is gone.
    pub deployment_unit_ref: String,
    /// The unit's version.
    pub version: String,
    /// `Installed`, `Uninstalled` or `Failed`.
    pub current_state: String,
    /// Whether all that it depends on is there.
    pub resolved: bool,
    /// Comma-separated paths of its execution units.
    pub execution_unit_refs: String,
    /// When the operation began.
    pub start_time: DateTime,
    /// When it ended.
    pub complete_time: DateTime,
    /// Why it failed; `None`: it succeeded.
    pub fault: Option<FaultStruct>,
}

/// How an operation that the server did not ask for ended.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AutonomousOperationResult {
    /// The result.
    pub result: OperationResult,
    /// `Install`, `Update` or `Uninstall`.
    pub operation_performed: String,
}

sequence!(Install {
    url: "URL" <= 1024,
    uuid: "UUID" optional,
    username: "Username" <= 256,
    password: "Password" <= 256,
    execution_env_ref: "ExecutionEnvRef" <= 256,
});
sequence!(Update {
    uuid: "UUID" optional,
    version: "Version" <= 32,
    url: "URL" <= 1024,
    username: "Username" <= 256,
    password: "Password" <= 256,
});
sequence!(Uninstall {
    uuid: "UUID",
    version: "Version" <= 32,
    execution_env_ref: "ExecutionEnvRef" <= 256
});

/// Leaves out the password and the query of the URL, which may carry a token.
impl fmt::Debug for Install {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Install")
            .field("url", &super::without_query(&self.url))
            .field("uuid", &self.uuid)
            .field("execution_env_ref", &self.execution_env_ref)
            .finish_non_exhaustive()
    }
}

/// Leaves out the password and the query of the URL, which may carry a token.
impl fmt::Debug for Update {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Update")
            .field("uuid", &self.uuid)
            .field("version", &self.version)
            .field("url", &super::without_query(&self.url))
            .finish_non_exhaustive()
    }
}

impl Element for ChangeDuState {
    fn read(reader: &mut Reader<'_>, _tag: &Tag<'_>) -> Result<Self, Malformed> {
        let mut request = Self::default();
        while let Some(tag) = reader.child()? {
            match tag.local() {
                "Operations" => read_operations(reader, &tag, &mut request.operations)?,
                "CommandKey" => request.command_key = reader.text()?,
                _ => reader.skip()?,
            }
        }
        Ok(request)
    }

    fn write(&self, writer: &mut Writer, name: &str) {
        writer.open(name);
        for operation in &self.operations {
            match operation {
                Operation::Install(install) => {
                    writer.typed("Operations", "cwmp:InstallOpStruct", |writer| {
                        install.write_fields(writer)
                    });
                }
                Operation::Update(update) => {
                    writer.typed("Operations", "cwmp:UpdateOpStruct", |writer| {
                        update.write_fields(writer)
                    });
                }
                Operation::Uninstall(uninstall) => {
                    writer.typed("Operations", "cwmp:UninstallOpStruct", |writer| {
                        uninstall.write_fields(writer)
                    });
                }
            }
        }
        writer.limited_text("CommandKey", &self.command_key, 32);
        writer.close(name);
    }
}

/// Reads an `Operations` element: an operation by its `xsi:type`, or operations nested in it by their names.
fn read_operations(
    reader: &mut Reader<'_>,
    tag: &Tag<'_>,
    operations: &mut Vec<Operation>,
) -> Result<(), Malformed> {
    let type_name = tag.attribute("type")?.unwrap_or_default();
    if let Some(operation) = read_operation(reader, type_name, tag)? {
        return reader.push_item(operations, operation);
    }
    reader.note(Repair::ArrayShape);
    while let Some(tag) = reader.child()? {
        match read_operation(reader, tag.local(), &tag)? {
            Some(operation) => reader.push_item(operations, operation)?,
            None => reader.skip()?,
        }
    }
    Ok(())
}

/// Reads the operation of that structure's name; consumes nothing if there is none.
fn read_operation(
    reader: &mut Reader<'_>,
    name: &str,
    tag: &Tag<'_>,
) -> Result<Option<Operation>, Malformed> {
    Ok(Some(match name.rsplit(':').next().unwrap_or_default() {
        "InstallOpStruct" => Operation::Install(Install::read(reader, tag)?),
        "UpdateOpStruct" => Operation::Update(Update::read(reader, tag)?),
        "UninstallOpStruct" => Operation::Uninstall(Uninstall::read(reader, tag)?),
        _ => return Ok(None),
    }))
}

impl Element for DuStateChangeComplete {
    fn read(reader: &mut Reader<'_>, _tag: &Tag<'_>) -> Result<Self, Malformed> {
        let mut report = Self::default();
        while let Some(tag) = reader.child()? {
            match tag.local() {
                "Results" => {
                    for result in read_results(reader)? {
                        reader.push_item(&mut report.results, result.result)?;
                    }
                }
                "CommandKey" => report.command_key = reader.text()?,
                _ => reader.skip()?,
            }
        }
        Ok(report)
    }

    fn write(&self, writer: &mut Writer, name: &str) {
        writer.open(name);
        for result in &self.results {
            writer.open("Results");
            write_result(result, writer);
            writer.close("Results");
        }
        writer.element("CommandKey", &self.command_key);
        writer.close(name);
    }
}

impl Element for AutonomousDuStateChangeComplete {
    fn read(reader: &mut Reader<'_>, _tag: &Tag<'_>) -> Result<Self, Malformed> {
        let mut report = Self::default();
        while let Some(tag) = reader.child()? {
            match tag.local() {
                "Results" => {
                    for result in read_results(reader)? {
                        reader.push_item(&mut report.results, result)?;
                    }
                }
                _ => reader.skip()?,
            }
        }
        Ok(report)
    }

    fn write(&self, writer: &mut Writer, name: &str) {
        writer.open(name);
        for result in &self.results {
            writer.open("Results");
            write_result(&result.result, writer);
            writer.element("OperationPerformed", &result.operation_performed);
            writer.close("Results");
        }
        writer.close(name);
    }
}

/// Reads a `Results` element: one result, or several nested in it.
fn read_results(reader: &mut Reader<'_>) -> Result<Vec<AutonomousOperationResult>, Malformed> {
    let mut nested = Vec::new();
    let mut single = AutonomousOperationResult::default();
    let mut is_single = true;
    while let Some(tag) = reader.child()? {
        if matches!(tag.local(), "OpResultStruct" | "AutonOpResultStruct") {
            reader.note(Repair::ArrayShape);
            let mut result = AutonomousOperationResult::default();
            while let Some(tag) = reader.child()? {
                read_result_field(reader, &tag, &mut result)?;
            }
            reader.push_item(&mut nested, result)?;
            is_single = false;
        } else {
            read_result_field(reader, &tag, &mut single)?;
        }
    }
    Ok(if is_single { vec![single] } else { nested })
}

fn read_result_field(
    reader: &mut Reader<'_>,
    tag: &Tag<'_>,
    into: &mut AutonomousOperationResult,
) -> Result<(), Malformed> {
    let result = &mut into.result;
    match tag.local() {
        "UUID" => result.uuid = reader.text()?,
        "DeploymentUnitRef" => result.deployment_unit_ref = reader.text()?,
        "Version" => result.version = reader.text()?,
        "CurrentState" => result.current_state = reader.text()?,
        "Resolved" => result.resolved = bool::read(reader, tag)?,
        "ExecutionUnitRefList" => result.execution_unit_refs = reader.text()?,
        "StartTime" => result.start_time = DateTime::read(reader, tag)?,
        "CompleteTime" => result.complete_time = DateTime::read(reader, tag)?,
        "Fault" => result.fault = Option::<FaultStruct>::read(reader, tag)?,
        "OperationPerformed" => into.operation_performed = reader.text()?,
        _ => reader.skip()?,
    }
    Ok(())
}

fn write_result(result: &OperationResult, writer: &mut Writer) {
    writer.element("UUID", &result.uuid);
    writer.element("DeploymentUnitRef", &result.deployment_unit_ref);
    writer.element("Version", &result.version);
    writer.element("CurrentState", &result.current_state);
    result.resolved.write(writer, "Resolved");
    writer.element("ExecutionUnitRefList", &result.execution_unit_refs);
    result.start_time.write(writer, "StartTime");
    result.complete_time.write(writer, "CompleteTime");
    result.fault.write(writer, "Fault");
}
