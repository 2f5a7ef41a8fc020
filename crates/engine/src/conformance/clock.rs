//! Properties of [`Clock`] and [`Ids`].

use std::collections::BTreeSet;
use std::time::Duration;

use super::{Report, Trial, Violation};
use crate::ports::{Clock, Ids};

/// Runs all properties of clocks.
pub async fn suite(trial: &Trial<'_>, clock: &dyn Clock) -> Result<Report, Violation> {
    run!(trial, clock, [waiting_takes_its_time])
}

/// Runs all properties of ids.
pub async fn id_suite(trial: &Trial<'_>, ids: &dyn Ids) -> Result<Report, Violation> {
    run!(trial, ids, [ids_are_new])
}

/// A wait lasts at least as long as asked, by the clock itself, to the millisecond that it counts in.
pub async fn waiting_takes_its_time(trial: &Trial<'_>, clock: &dyn Clock) -> Result<(), Violation> {
    for span in [Duration::ZERO, Duration::from_millis(3), Duration::from_millis(40)] {
        let start = clock.now();
        clock.sleep(span).await;
        let waited = clock.now().since(start);
        ensure!(trial, waited + Duration::from_millis(1) >= span, "a wait of {span:?} took {waited:?}");
    }
    Ok(())
}

/// No id comes twice, and every bit of them is used.
pub async fn ids_are_new(trial: &Trial<'_>, ids: &dyn Ids) -> Result<(), Violation> {
    const COUNT: usize = 4_096;
    let drawn: BTreeSet<u128> = (0..COUNT).map(|_| ids.random()).collect();
    ensure!(trial, drawn.len() == COUNT, "{COUNT} ids are only {} different ones", drawn.len());
    let (ones, zeros) = drawn.iter().fold((0, 0), |(ones, zeros), id| (ones | id, zeros | !id));
    ensure!(trial, ones == u128::MAX && zeros == u128::MAX, "some bits of an id never change");
    Ok(())
}
