use jiff::Timestamp;
use tidegate_engine::api::InstanceAnswer;

use super::{Table, ago};
use crate::terminal::clean;

/// A list of machines.
pub(crate) fn instances(instances: &[InstanceAnswer], now: Timestamp) -> String {
    if instances.is_empty() {
        return "no machines\n".to_owned();
    }
    let mut table = Table::new(&["INSTANCE", "POOL", "STATE", "LAUNCHED", "PID", "ATTEMPT"]).right(&[4]);
    for instance in instances {
        table.row([
            clean(&instance.id).into_owned(),
            clean(&instance.pool).into_owned(),
            instance.state.clone(),
            ago(&instance.launched_at, now),
            instance.pid.map_or_else(String::new, |pid| pid.to_string()),
            instance.attempt.clone().unwrap_or_default(),
        ]);
    }
    table.render("", None)
}
