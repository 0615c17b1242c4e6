//! One `platen serve`, as the operating system sees it.

use crate::server::{Home, eventually};
use std::{
    collections::BTreeMap,
    fs::{self, File},
    net::SocketAddr,
    path::PathBuf,
    process::{Child, ExitStatus},
};

/// A running process. Killed when dropped.
pub(crate) struct Process {
    name: String,
    child: Child,
    ports_file: PathBuf,
    log: PathBuf,
    /// Where it listens, once it is ready.
    ports: BTreeMap<String, Option<SocketAddr>>,
}

impl Process {
    /// Starts a process of these roles; `None`: all. `name` tells its files from those of others.
    pub(crate) fn start(
        home: &Home,
        name: &str,
        roles: Option<&str>,
        variables: &[(&str, &str)],
    ) -> Self {
        let ports_file = home.path().join(format!("{name}.json"));
        let _ = fs::remove_file(&ports_file);
        let log = home.path().join(format!("{name}.log"));
        let output = File::options()
            .create(true)
            .append(true)
            .open(&log)
            .unwrap();
        let mut command = home.serve(variables);
        command.arg("--ports-file").arg(&ports_file);
        if let Some(roles) = roles {
            command.args(["--roles", roles]);
        }
        let child = command
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            .spawn()
            .unwrap();
        Self {
            name: name.to_owned(),
            child,
            ports_file,
            log,
            ports: BTreeMap::new(),
        }
    }

    /// Waits until it is ready.
    pub(crate) async fn ready(&mut self) {
        let written = eventually("the ports file", async || {
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("the server ended with {status}: {}", self.log());
            }
            fs::read(&self.ports_file).ok()
        })
        .await;
        self.ports = serde_json::from_slice(&written).unwrap();
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Where it listens, if it does.
    pub(crate) fn address(&self, listener: &str) -> Option<SocketAddr> {
        self.ports[listener]
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
    }

    /// SIGTERM.
    pub(crate) fn signal(&self) {
        platen_swarm::process::terminate(self.pid()).unwrap();
    }

    /// How it ended, once it has.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Gone already if the test has ended it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
