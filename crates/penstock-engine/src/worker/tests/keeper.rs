//! The keeper's loop, polled by hand: whether it lives is a matter of its moving, not of what it waits for.

use std::pin::pin;

use penstock_core::coordinator::Coordinator;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{sleep, timeout};

use super::build::coordinator_settings;
use super::*;
use crate::lease_keeper::{KeeperParts, LeaseCalls, LeaseKeeper, MAILBOX, SHARD_COMMANDS};

/// What a probe allows a keeper that looks around every second.
const LIMIT: Duration = Duration::from_secs(30);
const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn a_keeper_that_stands_still_is_not_live_and_one_that_waits_for_the_table_is() {
    let (shard, _messages) = shard(&FakeStream::new(&[SHARD]), Position::TrimHorizon);
    let (ctx, table) = (&shard.worker, Arc::new(FakeTable::default()));
    table.hangs.store(true, Ordering::Relaxed);
    let (_to_keeper, mailbox) = mpsc::channel(MAILBOX);
    let (worker, _commands) = mpsc::channel(SHARD_COMMANDS);
    let (first_scan, _first_scanned) = oneshot::channel();
    let coordinator = coordinator_settings(&ctx.settings, &ctx.streams, &[InitialPosition::TrimHorizon]);
    let keeper = LeaseKeeper::new(KeeperParts {
        coordinator: Coordinator::new(coordinator),
        clock: ctx.clock.clone(),
        board: Arc::clone(&ctx.board),
        calls: LeaseCalls::new(ctx, table, ctx.settings.time_outs.clone()),
        mailbox,
        worker,
        first_scan,
        shutdown: CancellationToken::new(),
    });
    let (mut keeper, status) = (pin!(keeper.run()), ctx.board.handle());
    sleep(10 * LIMIT).await;
    assert!(status.is_live(LIMIT), "it has not begun");
    assert!(timeout(10 * LIMIT, &mut keeper).await.is_err());
    assert!(status.is_live(2 * SECOND), "the table does not answer, and the keeper moves");
    sleep(LIMIT - SECOND).await;
    assert!(status.is_live(LIMIT), "nobody polls it, but not for long");
    sleep(2 * SECOND).await;
    assert!(!status.is_live(LIMIT));
    assert!(timeout(SECOND, &mut keeper).await.is_err());
    assert!(status.is_live(LIMIT), "it moves again");
}
