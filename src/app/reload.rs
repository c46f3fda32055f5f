//! A reload: another configuration takes the place of the one in force, all of it or nothing. It is
//! prepared beside the loop, and put into force between a batch and its turn. A start is the same,
//! from nothing.

use std::ffi::OsString;
use std::mem;
use std::sync::Arc;

use log::{error, info, warn};

use super::accounts::AccountsInService;
#[cfg(feature = "cluster")]
use super::cluster::ReadCluster;
use super::config::Config;
use super::differences::Differences;
use super::listeners::{OpenListener, Socket};
use super::logging::{Logging, set_level};
use super::plugins;
use super::prepare::{InForce, Preparation, Prepared};
use super::tls::Certificates;
use crate::clock::Millis;
use crate::net::{Handle, Running, SocketTransport};
use crate::protocol::plugin::PluginHost;
use crate::server::Server;

/// A line for each change, `nothing changed` if there is none; or a reason each why nothing has
/// changed.
pub(super) type ReloadResult = Result<Vec<String>, Vec<String>>;

/// The configuration in force with all that it opened, and the reload on its way.
pub(super) struct Reloader {
    args: Arc<[OsString]>,
    config: Arc<Config>,
    open: Vec<OpenListener>,
    certificates: Certificates,
    accounts: AccountsInService,
    #[cfg(feature = "cluster")]
    cluster: Option<ReadCluster>,
    logging: Logging,
    handle: Handle,
    /// Warnings about it, which have been logged.
    warnings: Vec<String>,
    step: Step,
}

/// How far a reload has come.
enum Step {
    Idle,
    /// A thread reads and opens.
    Preparing(Preparation),
    /// The loop runs plugins beside those in service.
    LoadingPlugins(Box<Prepared>),
}

impl Reloader {
    /// The configuration of a server that starts is about to be in force, with its plugins in service
    /// already. Reloads read `args` again, and wake the loop of `handle`.
    pub(super) fn new(
        args: Arc<[OsString]>,
        config: Arc<Config>,
        logging: Logging,
        handle: Handle,
    ) -> Self {
        Reloader {
            args,
            config,
            open: Vec::new(),
            certificates: Certificates::default(),
            accounts: AccountsInService::default(),
            #[cfg(feature = "cluster")]
            cluster: None,
            logging,
            handle,
            warnings: Vec::new(),
            step: Step::Idle,
        }
    }

    /// Puts a configuration into force for the first time.
    ///
    /// # Errors
    ///
    /// A listener cannot be watched.
    pub(super) fn start(
        &mut self,
        prepared: Prepared,
        running: &mut Running<'_>,
    ) -> Result<(), String> {
        self.put_in_force(prepared, None, running).map(drop)
    }

    /// When certificates are to be looked at.
    pub(super) fn certificates_due_at(&self) -> Option<Millis> {
        self.certificates.due_at()
    }

    /// Warns of certificates that will expire, where that is due.
    pub(super) fn on_due(&mut self, now: Millis) {
        self.certificates.on_due(now);
    }

    /// Whether a reload is on its way.
    pub(super) fn is_reloading(&self) -> bool {
        !matches!(self.step, Step::Idle)
    }

    /// Reopens the log file and begins a reload, for which `cause` is the reason. Returns the outcome
    /// where it cannot begin.
    pub(super) fn begin(&mut self, cause: &str, running: &Running<'_>) -> Option<ReloadResult> {
        if self.config.log_file().is_some() {
            info!("{cause}: reopening the log file, reloading");
            self.logging.reopen();
        } else {
            info!("{cause}: reloading");
        }
        for listener in &mut self.open {
            listener.is_listening = running.server.is_listening(listener.number);
        }
        let begun = Preparation::begin(InForce {
            args: Arc::clone(&self.args),
            config: Arc::clone(&self.config),
            open: self.open.clone(),
            accounts: self.accounts.clone(),
            logging: self.logging.clone(),
            handle: self.handle.clone(),
        });
        match begun {
            Ok(preparation) => {
                self.step = Step::Preparing(preparation);
                None
            }
            Err(reason) => Some(fail(vec![reason])),
        }
    }

    /// Gives up the reload on its way: the server stops.
    pub(super) fn cancel(&mut self) {
        self.step = Step::Idle;
    }

    /// Goes on with the reload after the loop was woken. Returns its outcome, once.
    pub(super) fn advance(&mut self, running: &mut Running<'_>) -> Option<ReloadResult> {
        match mem::replace(&mut self.step, Step::Idle) {
            Step::Idle => None,
            Step::Preparing(preparation) => match preparation.take() {
                None => self.wait(Step::Preparing(preparation)),
                Some(Err(reasons)) => Some(fail(reasons)),
                Some(Ok(prepared)) => {
                    let handle = self.handle.clone();
                    match plugins::begin_reload(&prepared.config, handle, running.server) {
                        Ok(true) => self.wait(Step::LoadingPlugins(Box::new(prepared))),
                        Ok(false) => Some(self.finish(prepared, None, running)),
                        Err(reason) => Some(fail(vec![reason])),
                    }
                }
            },
            Step::LoadingPlugins(prepared) => match plugins::take_reloaded(running.server) {
                None => self.wait(Step::LoadingPlugins(prepared)),
                Some(Ok(host)) => Some(self.finish(*prepared, Some(host), running)),
                Some(Err(reasons)) => Some(fail(reasons)),
            },
        }
    }

    fn wait(&mut self, step: Step) -> Option<ReloadResult> {
        self.step = step;
        None
    }

    fn finish(
        &mut self,
        prepared: Prepared,
        plugins: Option<PluginHost>,
        running: &mut Running<'_>,
    ) -> ReloadResult {
        let old = Arc::clone(&self.config);
        // The lines are for whoever could read them before, and for whoever can from now on.
        set_level(old.log_level().max(prepared.config.log_level()));
        let outcome = match self.put_in_force(prepared, Some((old, plugins)), running) {
            Ok(lines) => {
                info!("reloaded");
                Ok(lines)
            }
            Err(reason) => fail(vec![reason]),
        };
        set_level(self.config.log_level());
        outcome
    }

    /// Puts a configuration into force, at a reload in place of `old`. Returns what that has changed.
    ///
    /// # Errors
    ///
    /// A listener cannot be watched; nothing has changed then.
    fn put_in_force(
        &mut self,
        prepared: Prepared,
        old: Option<(Arc<Config>, Option<PluginHost>)>,
        running: &mut Running<'_>,
    ) -> Result<Vec<String>, String> {
        let Prepared {
            config,
            limits,
            sockets,
            certificates,
            accounts,
            #[cfg(feature = "admin")]
            token,
            #[cfg(feature = "cluster")]
            cluster,
            log,
            mut warnings,
        } = prepared;
        let old_len = self.open.len();
        let places = self.add_new(&config, sockets, running)?;
        // From here on nothing can fail.
        let server = &mut *running.server;
        let mut differences = Differences::default();
        let is_start = old.is_none();
        let mut reloaded = None;
        if let Some((old, plugins)) = old {
            differences.add_settings(&old, &config);
            server.set_limits(limits);
            reloaded = plugins::replace(plugins, server);
        }
        if let Some(log) = log {
            self.logging.set_file(log);
        }
        #[cfg(feature = "admission")]
        config.settings.admission.apply(server);
        #[cfg(feature = "admin")]
        if config.has_admin() {
            // What it keeps of each connection is for admin clients alone.
            server.enable_admin(token);
        }
        let certificates = self.certificates.replace(certificates).filter(|_| !is_start);
        let accounts = self.accounts.replace(accounts, &config, server);
        let old = std::mem::replace(&mut self.config, config);
        #[cfg(feature = "cluster")]
        let engine = match (&mut self.cluster, cluster) {
            (Some(kept), Some(read)) => kept.replace(read, (&old, &self.config), server),
            (kept @ None, read) if is_start => {
                *kept = read;
                None
            }
            _ => None,
        };
        self.change_listeners(&old, places, old_len, &mut differences, server);
        if !is_start && !differences.lines.is_empty() {
            // Timeouts or rates may be others.
            server.rearm_deadlines();
        }
        let mut lines = differences.lines;
        warnings.append(&mut differences.warnings);
        lines.extend([certificates, accounts, reloaded].into_iter().flatten());
        #[cfg(feature = "cluster")]
        lines.extend(engine);
        for notice in &self.config.notices {
            if is_start || !old.notices.contains(notice) {
                lines.push(notice.clone());
            }
        }
        if lines.is_empty() && warnings.iter().all(|warning| self.warnings.contains(warning)) {
            lines.push("nothing changed".to_owned());
        }
        lines.iter().for_each(|line| info!("{line}"));
        for warning in &warnings {
            if !self.warnings.contains(warning) {
                warn!("{warning}");
                lines.push(format!("warning: {warning}"));
            }
        }
        self.warnings = warnings;
        Ok(lines)
    }

    /// Adds those listeners that have a socket of their own. Returns for each place of the
    /// configuration its place among the open ones, unless it is skipped.
    fn add_new(
        &mut self,
        config: &Config,
        sockets: Vec<Socket>,
        running: &mut Running<'_>,
    ) -> Result<Vec<Option<usize>>, String> {
        let old_len = self.open.len();
        let mut places = Vec::new();
        for (at, socket) in sockets.into_iter().enumerate() {
            let place = match socket {
                Socket::Open(place) => Some(place),
                Socket::Skipped => None,
                Socket::New(acceptor, place) => {
                    match OpenListener::add(at, acceptor, place, config, running) {
                        Ok(listener) => self.open.push(listener),
                        Err(reason) => {
                            for added in self.open.drain(old_len..) {
                                running.server.remove_listener(added.number);
                            }
                            return Err(reason);
                        }
                    }
                    Some(self.open.len() - 1)
                }
            };
            places.push(place);
        }
        Ok(places)
    }

    /// Has the listeners go by the configuration, and removes those that are not in it. The first
    /// `old_len` went by `old`.
    fn change_listeners(
        &mut self,
        old: &Config,
        places: Vec<Option<usize>>,
        old_len: usize,
        differences: &mut Differences,
        server: &mut Server<SocketTransport>,
    ) {
        for (at, place) in places.iter().enumerate() {
            let Some(place) = *place else { continue };
            let listener = &mut self.open[place];
            if place >= old_len {
                differences.lines.push(format!("listening on {}", listener.url));
            } else {
                listener.change(at, (old, &self.config), server, differences);
            }
            listener.set_up(&self.config, server);
            self.certificates.attach(at, listener.number, server);
        }
        let mut place = 0;
        self.open.retain(|listener| {
            let is_kept = place >= old_len || places.contains(&Some(place));
            place += 1;
            if !is_kept {
                let drained = server.remove_listener(listener.number);
                differences.lines.push(stopped(&listener.url, drained));
            }
            is_kept
        });
    }
}

impl OpenListener {
    /// Has an open listener go by what stands at a place of another configuration. Where that speaks
    /// another protocol, or speaks it through another layer, another listener takes its place and its
    /// socket.
    fn change(
        &mut self,
        at: usize,
        (old, new): (&Config, &Config),
        server: &mut Server<SocketTransport>,
        differences: &mut Differences,
    ) {
        let (old_spec, spec) = (&old.listeners[self.at], &new.listeners[at]);
        let old_url = self.configure(at, spec);
        let configuration = new.listener(spec, self.url.clone());
        if old_spec.speaks_as(spec) {
            differences.add_listener(&self.url, (old, old_spec), (new, spec));
            server.configure_listener(self.number, configuration);
        } else {
            let drained = server.replace_listener(self.number, configuration);
            #[cfg(feature = "unix")]
            differences.add_socket(&self.url, old_spec, spec);
            differences.lines.push(stopped(&old_url, drained));
            differences.lines.push(format!("listening on {}", self.url));
        }
    }
}

#[inline(never)]
fn stopped(url: &str, drained: usize) -> String {
    let s = if drained == 1 { "" } else { "s" };
    format!("stopped listening on {url}: {drained} connection{s} drained")
}

/// Logs why nothing has changed.
fn fail(reasons: Vec<String>) -> ReloadResult {
    reasons.iter().for_each(|reason| error!("{reason}"));
    error!("reload failed: nothing was changed");
    Err(reasons)
}
