//! The server as it is deployed: one process with everything, or a process per role and two of each on real backends. Devices and callers reach it
//! through a balancer.

use crate::{
    api::Api,
    backends::Backends,
    balancer::Balancer,
    member::{Member, Ports},
};
use rand::RngExt;
use std::{
    fs,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::Command,
};

/// The processes of the distributed form: name and role.
const ROLES: [(&str, &str); 12] = [
    ("edge-1", "edge"),
    ("edge-2", "edge"),
    ("northbound-1", "northbound"),
    ("northbound-2", "northbound"),
    ("provisioning-1", "provisioning"),
    ("provisioning-2", "provisioning"),
    ("inventory-1", "inventory"),
    ("inventory-2", "inventory"),
    ("metering-1", "metering"),
    ("metering-2", "metering"),
    ("firmware-1", "firmware"),
    ("firmware-2", "firmware"),
];

/// Partitions of the topics: few, so that members of a group have several each, and the brokers have little to do.
pub(crate) const PARTITIONS: u32 = 8;

/// What both forms are told: whoever waits for a device waits not much longer than faults last.
const CONFIG: &str = r#"
[log]
level = "info,fjall=warn,lsm_tree=warn"
[firmware]
transfer_within = "30s"
verify_within = "30s"
"#;

/// Where state and log are.
#[derive(Debug, Clone)]
pub(crate) enum Form {
    /// In the data directory of the one process; without one, in the test's folder.
    Embedded { data: Option<PathBuf> },
    /// On real backends.
    Distributed(Backends),
}

/// A running server, of one process or many. Its folder stays when a test fails.
pub(crate) struct Deployment {
    pub(crate) form: Form,
    pub(crate) members: Vec<Member>,
    folder: PathBuf,
    data: PathBuf,
    cwmp: Balancer,
    api: Balancer,
    token: String,
}

impl Deployment {
    /// Starts everything on empty state and waits until it is ready. `name`: of the test, and of its folder.
    pub(crate) async fn start(name: &str, form: Form) -> Self {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR"))
            .join("faults")
            .join(name);
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        println!("logs and ledger: {}", folder.display());
        // A long run goes on with the program that it began with, whatever is built meanwhile.
        let (built, kept) = (env!("CARGO_BIN_EXE_platen"), folder.join("platen"));
        fs::hard_link(built, &kept)
            .or_else(|_| fs::copy(built, &kept).map(drop))
            .unwrap();
        let config = folder.join("platen.toml");
        let mut text = CONFIG.to_owned();
        if let Form::Distributed(backends) = &form {
            text.push_str(&backends.config(&folder, PARTITIONS));
        }
        fs::write(&config, text).unwrap();

        let config = config.to_str().unwrap().to_owned();
        let roles: &[(&str, &str)] = match &form {
            Form::Embedded { .. } => &[("platen", "")],
            Form::Distributed(_) => &ROLES,
        };
        let data = match &form {
            Form::Embedded { data: Some(data) } => data.clone(),
            _ => folder.join("data"),
        };
        let members: Vec<Member> = ports(roles.len())
            .into_iter()
            .zip(roles)
            .map(|(ports, (name, role))| {
                let mut arguments = vec!["--config".to_owned(), config.clone()];
                if role.is_empty() {
                    let data = data.to_str().unwrap();
                    arguments.extend(["--data-dir".to_owned(), data.to_owned()]);
                } else {
                    arguments.extend(["--roles".to_owned(), (*role).to_owned()]);
                }
                Member::new(name, ports, arguments, &folder)
            })
            .collect();
        let targets = |role: &str, port: fn(&Ports) -> SocketAddr| {
            let serving = members
                .iter()
                .filter(|member| members.len() == 1 || member.name.starts_with(role));
            serving.map(|member| port(&member.ports)).collect()
        };
        let cwmp = Balancer::start(targets("edge", |ports| ports.cwmp));
        let api = Balancer::start(targets("northbound", |ports| ports.api));
        let mut deployment = Self {
            form,
            members,
            folder,
            data,
            cwmp,
            api,
            token: String::new(),
        };
        let token = match &deployment.form {
            Form::Embedded { .. } => deployment.data.join("admin.token"),
            Form::Distributed(_) => deployment.migrate(&config),
        };
        deployment.heal().await;
        fs::read_to_string(token)
            .unwrap()
            .trim()
            .clone_into(&mut deployment.token);
        deployment
    }

    /// Makes keyspace, tables and topics; the file with the administrator's token.
    fn migrate(&self, config: &str) -> PathBuf {
        let token = self.folder.join("admin.token");
        let migrated = Command::new(self.folder.join("platen"))
            .args(["migrate", "--config", config, "--admin-token-file"])
            .arg(&token)
            .env_clear()
            .output()
            .unwrap();
        assert!(
            migrated.status.success(),
            "platen migrate: {}",
            String::from_utf8_lossy(&migrated.stderr)
        );
        token
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The data directory of the embedded form.
    pub(crate) fn data(&self) -> &Path {
        &self.data
    }

    /// Where devices call.
    pub(crate) const fn cwmp(&self) -> SocketAddr {
        self.cwmp.address()
    }

    pub(crate) fn api(&self) -> Api {
        Api::new(self.api.address(), &self.token)
    }

    /// Numbers of the members whose name begins so.
    pub(crate) fn of_role(&self, role: &str) -> Vec<usize> {
        (0..self.members.len())
            .filter(|&number| self.members[number].name.starts_with(role))
            .collect()
    }

    /// Brings every process back, and waits until all of them are ready.
    pub(crate) async fn heal(&mut self) {
        for member in &mut self.members {
            member.go_on();
            member.start();
        }
        for member in &mut self.members {
            member.ready().await;
        }
    }

    /// Fails if a process has ended by itself.
    pub(crate) fn all_alive(&mut self) {
        self.members.iter_mut().for_each(Member::is_alive);
    }

    /// Ends every process by SIGTERM. Fails if one does not end well, or has ever panicked.
    pub(crate) async fn end(&mut self) {
        for member in &mut self.members {
            member.terminate().await;
        }
        let panics: Vec<String> = self.members.iter().flat_map(Member::panics).collect();
        assert_eq!(panics, Vec::<String>::new());
    }

    /// Removes what is left, once everything was found right.
    pub(crate) async fn remove(self) {
        if let Form::Distributed(backends) = &self.form {
            backends.remove().await;
        }
        let folder = self.folder.clone();
        drop(self);
        fs::remove_dir_all(folder).unwrap();
    }
}

/// Free ports for so many processes, that stay theirs while they are down: below those that the kernel gives to connections.
fn ports(members: usize) -> Vec<Ports> {
    let mut random = rand::rng();
    let mut taken = Vec::new();
    while taken.len() < 3 * members {
        let port = random.random_range(20_000..32_000);
        if let Ok(listener) = TcpListener::bind(("127.0.0.1", port)) {
            taken.push(listener);
        }
    }
    let addresses: Vec<SocketAddr> = taken
        .iter()
        .map(|listener| listener.local_addr().unwrap())
        .collect();
    addresses
        .chunks(3)
        .map(|ports| Ports {
            cwmp: ports[0],
            api: ports[1],
            ops: ports[2],
        })
        .collect()
}
