//! Instructions per 64-byte frame decoded in place. The counting is not written yet: the row says so.

use super::Bench;

pub(crate) fn run(bench: &mut Bench) {
    bench.table.note("instructions per frame decoded: not measured by this suite yet".to_owned());
}
