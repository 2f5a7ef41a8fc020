//! Properties of [`Store`].

use std::collections::BTreeSet;

use bytes::Bytes;
use futures_util::future::{join_all, try_join_all};

use super::{Report, Trial, Violation};
use crate::ports::{Expect, Key, PortError, Put, Record, Store, Version, Write};

/// Runs all properties of this module. Counts `retries` and `conflicts`.
pub async fn suite(trial: &Trial<'_>, store: &dyn Store) -> Result<Report, Violation> {
    run!(
        trial,
        store,
        [
            what_was_written_is_read,
            absent_holds_once,
            versions_are_compared,
            a_repeated_put_succeeds,
            any_overwrites,
            deleting_is_conditional_and_repeatable,
            transactions_are_whole,
            a_repeated_transaction_succeeds,
            transactions_are_bounded,
            sizes_are_bounded,
            listings_are_complete_and_ordered,
            listings_stay_in_their_partition,
            one_of_many_writers_wins,
            no_increment_is_lost,
            transfers_keep_the_sum,
        ]
    )
}

fn put(key: &Key, body: &str, expect: Expect, version: u128) -> Put {
    Put { key: key.clone(), body: Bytes::copy_from_slice(body.as_bytes()), expect, version: Version(version) }
}

async fn get(trial: &Trial<'_>, store: &dyn Store, key: &Key) -> Result<Option<Record>, Violation> {
    trial.done("a read", || store.get(key)).await
}

async fn write(trial: &Trial<'_>, store: &dyn Store, put: Put) -> Result<(), Violation> {
    trial.done("a write", || store.put_if(put.clone())).await
}

/// The record has exactly this body and version.
async fn holds(trial: &Trial<'_>, store: &dyn Store, key: &Key, body: &str, version: u128) -> Result<(), Violation> {
    let found = get(trial, store, key).await?;
    let right = found.as_ref().is_some_and(|record| {
        record.key == *key && record.body == body.as_bytes() && record.version == Version(version)
    });
    ensure!(trial, right, "`{key}` should be `{body}` in version {version}, not {found:?}");
    Ok(())
}

/// A record that was written is read as it was, at once; what was not written is not there. Keys are any text, bodies
/// any bytes, versions all 128 bits.
pub async fn what_was_written_is_read(trial: &Trial<'_>, store: &dyn Store) -> Result<(), Violation> {
    let pk = trial.name("p");
    for (n, sk) in ["a", "A", "a/b", " ", "é", "漢\u{10FFFF}", "%2f", "a'b\"c;--"].iter().enumerate() {
        let key = Key::new(&pk, *sk);
        ensure!(trial, get(trial, store, &key).await?.is_none(), "`{key}` is there before it was written");
        let body: Vec<u8> = (0..=255).cycle().take(n * 300).collect();
        let record = Record {
            key: key.clone(),
            version: Version(u128::MAX - u128::from(u32::try_from(n).unwrap_or(0))),
            body: Bytes::from(body),
        };
        let put = Put { key, body: record.body.clone(), expect: Expect::Absent, version: record.version };
        write(trial, store, put).await?;
        let found = get(trial, store, &record.key).await?;
        ensure!(trial, found.as_ref() == Some(&record), "`{}` is not read as it was written", record.key);
    }
    Ok(())
}

/// `Absent` fails when something is there, and changes nothing then.
pub async fn absent_holds_once(trial: &Trial<'_>, store: &dyn Store) -> Result<(), Violation> {
    let key = Key::new(trial.name("p"), "a");
    write(trial, store, put(&key, "one", Expect::Absent, 1)).await?;
    trial.conflicts("a second creation", || store.put_if(put(&key, "two", Expect::Absent, 2))).await?;
    holds(trial, store, &key, "one", 1).await
}

/// A version must be the one that is there; an old one fails, and so does any where nothing is.
pub async fn versions_are_compared(trial: &Trial<'_>, store: &dyn Store) -> Result<(), Violation> {
    let key = Key::new(trial.name("p"), "a");
    trial
        .conflicts("a change of what is not there", || store.put_if(put(&key, "x", Expect::Version(Version(1)), 2)))
        .await?;
    ensure!(trial, get(trial, store, &key).await?.is_none(), "a conflict wrote a record");
    write(trial, store, put(&key, "one", Expect::Absent, 1)).await?;
    write(trial, store, put(&key, "two", Expect::Version(Version(1)), 2)).await?;
    trial
        .conflicts("a change of an old version", || store.put_if(put(&key, "three", Expect::Version(Version(1)), 3)))
        .await?;
    holds(trial, store, &key, "two", 2).await
}

/// A writer that did not see the answer asks again with the same version and is told of success, until somebody else has
/// written.
pub async fn a_repeated_put_succeeds(trial: &Trial<'_>, store: &dyn Store) -> Result<(), Violation> {
    let key = Key::new(trial.name("p"), "a");
    for (body, expect, version) in [("one", Expect::Absent, 1), ("two", Expect::Version(Version(1)), 2)] {
        for _ in 0..3 {
            write(trial, store, put(&key, body, expect, version)).await?;
        }
        holds(trial, store, &key, body, version).await?;
    }
    trial
        .conflicts("a repetition after somebody else wrote", || store.put_if(put(&key, "one", Expect::Absent, 1)))
        .await?;
    holds(trial, store, &key, "two", 2).await
}

/// `Any` writes whatever is there.
pub async fn any_overwrites(trial: &Trial<'_>, store: &dyn Store) -> Result<(), Violation> {
    let key = Key::new(trial.name("p"), "a");
    write(trial, store, put(&key, "one", Expect::Any, 1)).await?;
    write(trial, store, put(&key, "two", Expect::Any, 2)).await?;
    holds(trial, store, &key, "two", 2).await
}

/// Removing what is not there succeeds; another version than the expected one stays; `Absent` makes no sense.
pub async fn deleting_is_conditional_and_repeatable(trial: &Trial<'_>, store: &dyn Store) -> Result<(), Violation> {
    let key = Key::new(trial.name("p"), "a");
    trial.done("the removal of what is not there", || store.delete_if(&key, Expect::Any)).await?;
    write(trial, store, put(&key, "one", Expect::Absent, 1)).await?;
    trial.conflicts("the removal of another version", || store.delete_if(&key, Expect::Version(Version(2)))).await?;
    holds(trial, store, &key, "one", 1).await?;
    for _ in 0..2 {
        trial.done("the removal of this version", || store.delete_if(&key, Expect::Version(Version(1)))).await?;
        ensure!(trial, get(trial, store, &key).await?.is_none(), "a removed record is there");
    }
    trial.rejected("a removal that expects nothing", || store.delete_if(&key, Expect::Absent)).await
}

/// All writes of a transaction happen or none, and its checks count as much as the conditions of its writes.
pub async fn transactions_are_whole(trial: &Trial<'_>, store: &dyn Store) -> Result<(), Violation> {
    let pk = trial.name("p");
    let key = |sk: &str| Key::new(&pk, sk);
    write(trial, store, put(&key("old"), "old", Expect::Absent, 1)).await?;
    let check = |sk: &str, expect| Write::Check { key: key(sk), expect };
    let delete = |sk: &str, expect| Write::Delete { key: key(sk), expect };
    let create = |sk: &str| Write::Put(put(&key(sk), "new", Expect::Absent, 9));
    let wrong = Expect::Version(Version(7));
    for failing in [
        vec![create("a"), Write::Put(put(&key("old"), "x", Expect::Absent, 9))],
        vec![create("a"), Write::Put(put(&key("old"), "x", wrong, 9))],
        vec![create("a"), delete("old", wrong)],
        vec![create("a"), check("old", Expect::Absent)],
        vec![create("a"), check("old", wrong)],
        vec![create("a"), check("none", Expect::Version(Version(1)))],
        vec![check("old", wrong)],
    ] {
        trial.conflicts("a transaction with a condition that fails", || store.transact(failing.clone())).await?;
        ensure!(
            trial,
            get(trial, store, &key("a")).await?.is_none(),
            "a part of a failed transaction was written: {failing:?}"
        );
        holds(trial, store, &key("old"), "old", 1).await?;
    }
    let whole = vec![
        create("a"),
        create("b"),
        delete("old", Expect::Version(Version(1))),
        delete("none", Expect::Any),
        check("c", Expect::Absent),
        check("d", Expect::Any),
    ];
    trial.done("a transaction", || store.transact(whole.clone())).await?;
    holds(trial, store, &key("a"), "new", 9).await?;
    holds(trial, store, &key("b"), "new", 9).await?;
    ensure!(trial, get(trial, store, &key("old")).await?.is_none(), "what a transaction removed is there");
    Ok(())
}

/// A transaction whose answer was lost succeeds when it is repeated, also when what it checked has changed since; after
/// somebody else wrote over it, it conflicts.
pub async fn a_repeated_transaction_succeeds(trial: &Trial<'_>, store: &dyn Store) -> Result<(), Violation> {
    let pk = trial.name("p");
    let key = |sk: &str| Key::new(&pk, sk);
    write(trial, store, put(&key("a"), "one", Expect::Absent, 1)).await?;
    write(trial, store, put(&key("gone"), "x", Expect::Absent, 1)).await?;
    let writes = vec![
        Write::Put(put(&key("a"), "two", Expect::Version(Version(1)), 2)),
        Write::Put(put(&key("b"), "two", Expect::Absent, 2)),
        Write::Delete { key: key("gone"), expect: Expect::Version(Version(1)) },
        Write::Check { key: key("c"), expect: Expect::Absent },
    ];
    for _ in 0..2 {
        trial.done("a repeated transaction", || store.transact(writes.clone())).await?;
    }
    write(trial, store, put(&key("c"), "since", Expect::Absent, 5)).await?;
    trial.done("a repetition after a checked record changed", || store.transact(writes.clone())).await?;
    write(trial, store, put(&key("a"), "three", Expect::Version(Version(2)), 3)).await?;
    trial.conflicts("a repetition after a written record changed", || store.transact(writes.clone())).await?;
    holds(trial, store, &key("a"), "three", 3).await
}

/// 1 to 100 writes, to distinct records.
pub async fn transactions_are_bounded(trial: &Trial<'_>, store: &dyn Store) -> Result<(), Violation> {
    let pk = trial.name("p");
    let writes = |count: u32| -> Vec<Write> {
        (0..count).map(|n| Write::Put(put(&Key::new(&pk, format!("{n:03}")), "x", Expect::Absent, 1))).collect()
    };
    trial.rejected("a transaction without writes", || store.transact(Vec::new())).await?;
    trial.rejected("a transaction of 101 writes", || store.transact(writes(101))).await?;
    trial
        .rejected("a transaction that names a record twice", || {
            let mut twice = writes(2);
            twice.push(Write::Check { key: Key::new(&pk, "000"), expect: Expect::Absent });
            store.transact(twice)
        })
        .await?;
    trial
        .rejected("a transaction that removes what it expects to be absent", || {
            store.transact(vec![Write::Delete { key: Key::new(&pk, "000"), expect: Expect::Absent }])
        })
        .await?;
    trial.done("a transaction of 100 writes", || store.transact(writes(100))).await?;
    holds(trial, store, &Key::new(&pk, "099"), "x", 1).await
}

/// Keys have 1 to 1,024 bytes in each part, bodies up to 400 KB less the keys.
pub async fn sizes_are_bounded(trial: &Trial<'_>, store: &dyn Store) -> Result<(), Violation> {
    let pk = trial.name("p");
    let long = "k".repeat(1_024);
    let large = "b".repeat(396 * 1_024);
    let key = Key::new(&pk, &long);
    write(trial, store, put(&key, &large, Expect::Absent, 1)).await?;
    holds(trial, store, &key, &large, 1).await?;
    trial
        .rejected("a body over 400 KB", || store.put_if(put(&key, &"b".repeat(400 * 1_024 + 1), Expect::Any, 2)))
        .await?;
    for bad in
        [Key::new(&pk, ""), Key::new("", "a"), Key::new(&pk, format!("{long}k")), Key::new(format!("{long}k"), "a")]
    {
        trial.rejected("a key out of bounds", || store.put_if(put(&bad, "x", Expect::Any, 1))).await?;
    }
    Ok(())
}

/// A whole listing, page by page.
async fn list(
    trial: &Trial<'_>,
    store: &dyn Store,
    pk: &str,
    prefix: &str,
    after: Option<&str>,
    limit: usize,
) -> Result<Vec<String>, Violation> {
    let mut after = after.map(str::to_owned);
    let mut found = Vec::new();
    loop {
        let page = trial.done("a listing", || store.query(pk, prefix, after.as_deref(), limit)).await?;
        ensure!(trial, page.records.len() <= limit, "a page of {limit} has {} records", page.records.len());
        ensure!(trial, page.more == page.last.is_some(), "a page says more: {}, but where: {:?}", page.more, page.last);
        found.extend(page.records.into_iter().map(|record| record.key.sk));
        match page.last {
            Some(last) => {
                ensure!(trial, after.as_ref() < Some(&last), "a listing goes back from {after:?} to `{last}`");
                after = Some(last);
            }
            None => return Ok(found),
        }
    }
}

/// Pages together hold exactly the records with the prefix, each once, in the order of bytes, whatever their size; a
/// listing begins after a text that need not exist.
pub async fn listings_are_complete_and_ordered(trial: &Trial<'_>, store: &dyn Store) -> Result<(), Violation> {
    let pk = trial.name("p");
    let mut all: BTreeSet<String> = (0..120_u32).map(|n| format!("n/{:03}", n * 7 % 120)).collect();
    all.extend(["n", "n.", "n/", "n0", "N/1", "é", "~", "n/\u{10FFFF}x"].map(str::to_owned));
    let large = "x".repeat(100_000);
    let writes = all.iter().enumerate().map(|(n, sk)| {
        let body = if n % 10 == 0 { large.as_str() } else { "x" };
        write(trial, store, put(&Key::new(&pk, sk), body, Expect::Absent, 1))
    });
    try_join_all(writes).await?;
    for (prefix, after) in [
        ("", None),
        ("n/", None),
        ("n/0", None),
        ("n/", Some("n/0505")),
        ("n/", Some("a")),
        ("n/", Some("n/119")),
        ("n/", Some("z")),
        ("", Some("n0")),
        ("nothing", None),
    ] {
        let expected: Vec<&String> =
            all.iter().filter(|sk| sk.starts_with(prefix) && after.is_none_or(|after| sk.as_str() > after)).collect();
        for limit in [1, 7, 1_000] {
            let found = list(trial, store, &pk, prefix, after, limit).await?;
            ensure!(
                trial,
                found.iter().eq(expected.iter().copied()),
                "the listing of `{prefix}` after {after:?} by {limit} should be {expected:?}, not {found:?}"
            );
        }
    }
    for limit in [0, 1_001] {
        trial.rejected("a limit out of bounds", || store.query(&pk, "", None, limit)).await?;
    }
    Ok(())
}

/// A listing is of exactly one partition: not of those whose name begins alike.
pub async fn listings_stay_in_their_partition(trial: &Trial<'_>, store: &dyn Store) -> Result<(), Violation> {
    let pk = trial.name("p");
    for (pk, sk) in [(pk.clone(), "mine"), (format!("{pk}0"), "longer"), (format!("{pk}/"), "below")] {
        write(trial, store, put(&Key::new(pk, sk), "x", Expect::Absent, 1)).await?;
    }
    let found = list(trial, store, &pk, "", None, 100).await?;
    ensure!(trial, found == ["mine"], "the partition `{pk}` should hold `mine`, not {found:?}");
    Ok(())
}

/// Of writers that create one record at a time exactly one succeeds, and the record is his.
pub async fn one_of_many_writers_wins(trial: &Trial<'_>, store: &dyn Store) -> Result<(), Violation> {
    for round in 0..10 {
        let key = Key::new(trial.name("p"), format!("{round}"));
        let writers = (1..=16_u128).map(|n| {
            let put = put(&key, &n.to_string(), Expect::Absent, n);
            async move { (n, trial.again(|| store.put_if(put.clone())).await) }
        });
        let mut winners = Vec::new();
        for (n, answer) in join_all(writers).await {
            match answer {
                Ok(()) => winners.push(n),
                Err(PortError::Conflict) => trial.count("conflicts"),
                Err(error) => return Err(trial.broken(format!("a write failed: {error}"))),
            }
        }
        let [winner] = winners[..] else {
            return Err(trial.broken(format!("one writer should win, not {winners:?}")));
        };
        holds(trial, store, &key, &winner.to_string(), winner).await?;
    }
    Ok(())
}

/// Writers that change one record by reading and conditional writing lose nothing of each other. Each has a number of its
/// own in it, by which it also finds out whether a write happened whose answer was lost.
pub async fn no_increment_is_lost(trial: &Trial<'_>, store: &dyn Store) -> Result<(), Violation> {
    const WRITERS: usize = 8;
    const EACH: u128 = 12;
    let key = Key::new(trial.name("p"), "counters");
    let body = |counts: &[u128]| counts.iter().map(u128::to_string).collect::<Vec<_>>().join(" ");
    write(trial, store, put(&key, &body(&[0; WRITERS]), Expect::Absent, 1)).await?;
    let writers = (0..WRITERS).map(|writer| {
        let (key, body) = (&key, &body);
        async move {
            let mut answered = 0;
            for attempt in 2.. {
                let (mut counts, version) = counters(trial, store, key).await?;
                let mine = counts.get(writer).copied().unwrap_or(0);
                ensure!(trial, mine >= answered, "writer {writer} was answered {answered}, and {mine} is there");
                if mine == EACH {
                    break;
                }
                counts[writer] = mine + 1;
                let version_of_mine = u128::try_from(writer).unwrap_or(0) << 64 | attempt;
                let put = put(key, &body(&counts), Expect::Version(version), version_of_mine);
                match trial.again(|| store.put_if(put.clone())).await {
                    Ok(()) => answered = mine + 1,
                    Err(PortError::Conflict) => trial.count("conflicts"),
                    Err(error) => return Err(trial.broken(format!("a write failed: {error}"))),
                }
            }
            Ok(())
        }
    });
    try_join_all(writers).await?;
    let (counts, _) = counters(trial, store, &key).await?;
    ensure!(trial, counts == [EACH; WRITERS], "{WRITERS} writers counted to {EACH} each, and {counts:?} is there");
    Ok(())
}

async fn counters(trial: &Trial<'_>, store: &dyn Store, key: &Key) -> Result<(Vec<u128>, Version), Violation> {
    let Some(record) = get(trial, store, key).await? else {
        return Err(trial.broken("the counters are gone"));
    };
    let text = String::from_utf8_lossy(&record.body).into_owned();
    let counts: Result<Vec<u128>, _> = text.split(' ').map(str::parse).collect();
    match counts {
        Ok(counts) => Ok((counts, record.version)),
        Err(_) => Err(trial.broken(format!("`{text}` was never written"))),
    }
}

/// Transactions that move amounts between records at the same time create and destroy nothing.
pub async fn transfers_keep_the_sum(trial: &Trial<'_>, store: &dyn Store) -> Result<(), Violation> {
    const ACCOUNTS: u128 = 4;
    const START: u128 = 1_000;
    let pk = trial.name("p");
    let account = |n: u128| Key::new(&pk, format!("{}", n % ACCOUNTS));
    let account = &account;
    for n in 0..ACCOUNTS {
        write(trial, store, put(&account(n), &START.to_string(), Expect::Absent, 1)).await?;
    }
    let movers = (1..=6_u128).map(|mover| async move {
        for step in 1..=10_u128 {
            let (from, to) = (account(mover + step), account(mover + 2 * step + 1));
            if from == to {
                continue;
            }
            let (Some(giver), Some(taker)) = (get(trial, store, &from).await?, get(trial, store, &to).await?) else {
                return Err(trial.broken("an account is gone"));
            };
            let version = mover << 64 | step;
            let writes = vec![
                Write::Put(put(
                    &from,
                    &(number(trial, &giver)? - 1).to_string(),
                    Expect::Version(giver.version),
                    version,
                )),
                Write::Put(put(
                    &to,
                    &(number(trial, &taker)? + 1).to_string(),
                    Expect::Version(taker.version),
                    version,
                )),
            ];
            match trial.again(|| store.transact(writes.clone())).await {
                Ok(()) => {}
                Err(PortError::Conflict) => trial.count("conflicts"),
                Err(error) => return Err(trial.broken(format!("a transaction failed: {error}"))),
            }
        }
        Ok(())
    });
    try_join_all(movers).await?;
    let mut sum = 0;
    for n in 0..ACCOUNTS {
        match get(trial, store, &account(n)).await? {
            Some(record) => sum += number(trial, &record)?,
            None => return Err(trial.broken("an account is gone")),
        }
    }
    ensure!(trial, sum == ACCOUNTS * START, "{} became {sum}", ACCOUNTS * START);
    Ok(())
}

fn number(trial: &Trial<'_>, record: &Record) -> Result<u128, Violation> {
    let text = String::from_utf8_lossy(&record.body);
    text.parse().map_err(|_| trial.broken(format!("`{text}` is no number")))
}
