//! All that a start reads and opens, and a reload on a thread of its own: a disk or a name server
//! may be slow. A preparation can be put into force without another look at either.

use std::ffi::OsString;
use std::sync::{Arc, Mutex, PoisonError};

use super::accounts::{self, AccountsInService, ReadAccounts};
#[cfg(feature = "admin")]
use super::admin;
#[cfg(feature = "cluster")]
use super::cluster::{self, ReadCluster};
use super::config::{Config, ConfigError, Invocation};
use super::fit_limits::fit_limits;
use super::listeners::{self, OpenListener, Socket};
use super::logging::{Logging, OpenLog};
use super::systemd::PassedSockets;
use super::thread::spawn;
use super::tls::Certificates;
use crate::limits::Limits;
use crate::net::Handle;
#[cfg(feature = "admin")]
use crate::protocol::admin::Token;
use crate::strerror::strerror;

/// The parts in force that matter for what is to be opened.
pub(super) struct InForce {
    pub(super) args: Arc<[OsString]>,
    pub(super) config: Arc<Config>,
    pub(super) open: Vec<OpenListener>,
    pub(super) accounts: AccountsInService,
    pub(super) logging: Logging,
    pub(super) handle: Handle,
}

/// A configuration with all that it needs, read and open.
pub(super) struct Prepared {
    pub(super) config: Arc<Config>,
    pub(super) limits: Limits,
    /// One for each listener of the configuration.
    pub(super) sockets: Vec<Socket>,
    pub(super) certificates: Certificates,
    pub(super) accounts: Option<ReadAccounts>,
    /// The token of admin clients.
    #[cfg(feature = "admin")]
    pub(super) token: Option<Token>,
    /// Files of the connections to the engine, read.
    #[cfg(feature = "cluster")]
    pub(super) cluster: Option<ReadCluster>,
    /// The log file, where it is another one.
    pub(super) log: Option<Option<OpenLog>>,
    pub(super) warnings: Vec<String>,
}

/// The outcome, or a reason for each thing that does not fit.
pub(super) type PrepareResult = Result<Prepared, Vec<String>>;

/// A preparation that is on its way.
pub(super) struct Preparation(Arc<Mutex<Option<PrepareResult>>>);

impl Preparation {
    /// Starts the thread. It wakes the loop when it is done; nothing waits for it, as a disk may
    /// block it for ever.
    ///
    /// # Errors
    ///
    /// The system has no thread left.
    pub(super) fn begin(in_force: InForce) -> Result<Self, String> {
        let place = Arc::new(Mutex::new(None));
        let outcome = Outcome {
            result: Err(vec!["cannot reload: the thread that reads has failed".to_owned()]),
            place: Arc::clone(&place),
            handle: in_force.handle.clone(),
        };
        let run = move || {
            // All of it, and not its field alone.
            let mut outcome = outcome;
            outcome.result = prepare(&in_force);
        };
        spawn("reload", Box::new(run))
            .map_err(|error| format!("cannot reload: {}", strerror(&error)))?;
        Ok(Preparation(place))
    }

    /// The outcome, once it is there.
    pub(super) fn take(&self) -> Option<PrepareResult> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Puts the outcome in its place when the thread ends, however it does.
struct Outcome {
    result: PrepareResult,
    place: Arc<Mutex<Option<PrepareResult>>>,
    handle: Handle,
}

impl Drop for Outcome {
    fn drop(&mut self) {
        let result = std::mem::replace(&mut self.result, Err(Vec::new()));
        *self.place.lock().unwrap_or_else(PoisonError::into_inner) = Some(result);
        self.handle.wake();
    }
}

fn prepare(in_force: &InForce) -> PrepareResult {
    let config = match Invocation::from_args(&in_force.args) {
        Ok(Invocation::Run(config)) => Arc::new(config),
        // The same arguments ran a server.
        Ok(_) => return Err(Vec::new()),
        Err(error) => return Err(vec![reason(&error)]),
    };
    let files = ConfigFiles::read(&config, &in_force.accounts)?;
    let limits = fit_limits(&config).map_err(|error| vec![error])?;
    let passed = PassedSockets::default();
    let mut prepared = open(config, limits, files, &in_force.open, passed, &in_force.handle)?;
    prepared.log = open_log(&prepared.config, in_force).map_err(|error| vec![error])?;
    Ok(prepared)
}

/// The files that a configuration names, but for the log: read, and nothing of them in service.
pub(super) struct ConfigFiles {
    certificates: Certificates,
    accounts: Option<ReadAccounts>,
    #[cfg(feature = "admin")]
    token: Option<Token>,
    #[cfg(feature = "cluster")]
    cluster: Option<ReadCluster>,
}

impl ConfigFiles {
    /// Reads them.
    ///
    /// # Errors
    ///
    /// A reason for each that cannot be used.
    pub(super) fn read(
        config: &Config,
        in_service: &AccountsInService,
    ) -> Result<Self, Vec<String>> {
        let mut errors = Vec::new();
        let certificates = Certificates::read(config).map_err(|reasons| errors.extend(reasons));
        let accounts = accounts::read(config, in_service).map_err(|error| errors.push(error));
        #[cfg(feature = "admin")]
        let token = admin::load(config).map_err(|error| errors.push(error)).unwrap_or_default();
        #[cfg(feature = "cluster")]
        let cluster = cluster::read(config).map_err(|error| errors.push(error)).unwrap_or_default();
        let (Ok(certificates), Ok(accounts), []) = (certificates, accounts, &*errors) else {
            return Err(errors);
        };
        Ok(ConfigFiles {
            certificates,
            accounts,
            #[cfg(feature = "admin")]
            token,
            #[cfg(feature = "cluster")]
            cluster,
        })
    }
}

/// Opens what others can see: what comes last of a preparation, and of a start. The log file stays.
///
/// # Errors
///
/// A reason for each thing that cannot be opened; nothing new is left open.
pub(super) fn open(
    config: Arc<Config>,
    (limits, mut warnings): (Limits, Vec<String>),
    files: ConfigFiles,
    open: &[OpenListener],
    passed: PassedSockets,
    handle: &Handle,
) -> PrepareResult {
    let ConfigFiles {
        certificates,
        mut accounts,
        #[cfg(feature = "admin")]
        token,
        #[cfg(feature = "cluster")]
        cluster,
    } = files;
    let (sockets, skipped) = listeners::bind_all(&config, open, passed)?;
    if let Some(accounts) = &mut accounts {
        accounts.begin(handle.clone()).map_err(|error| vec![error])?;
    }
    warnings.extend(skipped);
    #[cfg(feature = "cluster")]
    warnings.extend(config.warnings.iter().cloned());
    warnings.extend(certificates.warnings());
    warnings.extend(accounts.iter().filter_map(ReadAccounts::warning));
    Ok(Prepared {
        config,
        limits,
        sockets,
        certificates,
        accounts,
        #[cfg(feature = "admin")]
        token,
        #[cfg(feature = "cluster")]
        cluster,
        log: None,
        warnings,
    })
}

/// Opens the log file where it is another one.
fn open_log(config: &Config, in_force: &InForce) -> Result<Option<Option<OpenLog>>, String> {
    let path = config.log_file();
    if path == in_force.config.log_file() {
        return Ok(None);
    }
    let Some(path) = path else { return Ok(Some(None)) };
    let shown = path.display().to_string();
    let opened = in_force.logging.open(path);
    opened
        .map(|log| Some(Some(log)))
        .map_err(|error| format!("cannot log to {shown}: {}", strerror(&error)))
}

fn reason(error: &ConfigError) -> String {
    format!("{error}")
}
