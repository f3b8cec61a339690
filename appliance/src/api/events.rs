//! `GET /api/v1/events`: machines as they change, as server-sent events.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::State;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::stream::{self, Stream, StreamExt as _};
use tokio_stream::wrappers::BroadcastStream;

use super::views;
use crate::context::Context;

/// Sends every machine once, then each one that changes.
pub async fn stream(
    State(context): State<Context>,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    // Subscribed before the first look, so that no change is lost between the two.
    let changes = BroadcastStream::new(context.fleet.subscribe());
    let first = stream::iter(everything(&context));
    let later = changes.flat_map(move |change| {
        stream::iter(match change {
            Ok(name) if !name.is_empty() => one(&context, &name),
            // The cluster changed, or this subscriber was too slow and missed some.
            Ok(_) | Err(_) => everything(&context),
        })
    });
    let alive = KeepAlive::new().interval(Duration::from_secs(15));
    Sse::new(first.chain(later).map(Ok)).keep_alive(alive)
}

fn one(context: &Context, name: &str) -> Vec<Event> {
    let snapshot = context.fleet.snapshot();
    let view = views::view(context, &snapshot, name);
    let event = view.and_then(|view| Event::default().event("machine").json_data(view).ok());
    event.into_iter().collect()
}

fn everything(context: &Context) -> Vec<Event> {
    let status = Event::default().event("status");
    let status = status.json_data(views::status(context)).ok();
    let machines = views::rows(context).into_iter();
    let machines =
        machines.filter_map(|view| Event::default().event("machine").json_data(view).ok());
    status.into_iter().chain(machines).collect()
}
