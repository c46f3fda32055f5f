//! `--jobs`: one run in several processes of this program, which share the connections.
//!
//! The parent is their clock: all begin the ramp together, and the hold or the traffic, and none closes
//! its connections before all have ended it. It shows one progress, and makes one record of theirs. It
//! opens no connections itself.
//!
//! Parent and job talk over a socket pair, which is the job's standard input, in lines of JSON. Both
//! are the same program, so the lines (`job_link`) have no version. A job whose parent has gone reads the end of
//! file and ends.
//!
//! | module | job |
//! |---|---|
//! | `job` | a process of the run |
//! | `process` | such a process, as the parent sees it |
//! | `parent` | the clock of all |

mod job;
mod parent;
mod process;

pub(super) use job::run_as_job;
pub(super) use parent::run;

/// First word of a job's command line. It is no mode: what follows is the command line of the parent.
const JOB_WORD: &str = "job";
