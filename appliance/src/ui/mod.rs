//! Pages: the rack table and one machine's story. They work without scripts, and live with one.

use askama::Template;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use hardway_model::preview::Fate;

use crate::api::{ApiError, operator, views};
use crate::clock;
use crate::context::Context;

pub mod difference;
pub mod rows;
#[cfg(test)]
mod tests;

use rows::{Disk, Hold, Line, Nic, NoticeLine, Row};

/// What stands on every page.
struct Top {
    cluster: String,
    version: String,
    addresses: String,
    problems: Vec<String>,
    warnings: Vec<String>,
    /// What was noticed of the network, the latest first.
    notices: Vec<NoticeLine>,
    serving: bool,
    declared: usize,
    running: usize,
    ready: usize,
}

#[derive(Template)]
#[template(path = "rack.html")]
struct RackPage {
    top: Top,
    rows: Vec<Row>,
}

#[derive(Template)]
#[template(path = "machine.html")]
struct MachinePage {
    top: Top,
    row: Row,
    hold: Option<Hold>,
    macs: String,
    facts: Vec<(&'static str, String)>,
    disks: Vec<Disk>,
    orders: Vec<String>,
    nics: Vec<Nic>,
    timeline: Vec<Line>,
}

#[derive(Template)]
#[template(path = "plan.html")]
struct PlanPage {
    top: Top,
    name: String,
    /// Class and text of each line of the difference.
    lines: Vec<(&'static str, String)>,
    /// Why there is none.
    absent: String,
}

#[derive(Template)]
#[template(path = "missing.html")]
struct MissingPage {
    top: Top,
    name: String,
}

/// `GET /`
pub async fn rack(State(context): State<Context>) -> Result<Response, ApiError> {
    let now = clock::now();
    let rows = views::rows(&context);
    let page = RackPage {
        top: top(&context),
        rows: rows.into_iter().map(|view| Row::new(view, now)).collect(),
    };
    html(StatusCode::OK, &page)
}

/// `GET /machines/NAME`
pub async fn machine(
    State(context): State<Context>,
    Path(name): Path<String>,
) -> Result<Response, ApiError> {
    let top = top(&context);
    if !context.fleet.snapshot().machines.contains_key(&name) {
        return html(StatusCode::NOT_FOUND, &MissingPage { top, name });
    }
    let detail = views::detail(&context, &name).await?;
    let inventory = detail.inventory.as_ref();
    let macs: Vec<String> = detail
        .machine
        .macs
        .iter()
        .map(ToString::to_string)
        .collect();
    let page = MachinePage {
        top,
        hold: Hold::of(&detail.machine.phase),
        macs: macs.join(", "),
        facts: rows::facts(&detail),
        disks: inventory
            .map(|found| found.disks.iter().map(Disk::new).collect())
            .unwrap_or_default(),
        orders: detail
            .planned
            .iter()
            .flat_map(|planned| planned.disks.clone())
            .collect(),
        nics: inventory
            .map(|found| found.nics.iter().map(Nic::new).collect())
            .unwrap_or_default(),
        timeline: detail.timeline.iter().rev().map(Line::new).collect(),
        row: Row::new(detail.machine, clock::now()),
    };
    html(StatusCode::OK, &page)
}

/// `GET /machines/NAME/plan`: what would happen to each disk, by the last inventory.
pub async fn plan(
    State(context): State<Context>,
    Path(name): Path<String>,
) -> Result<Response, ApiError> {
    let top = top(&context);
    let preview = operator::preview(context, name.clone()).await;
    let (status, lines, absent) = match preview {
        Ok(preview) => {
            let lines = difference::lines(&preview).into_iter();
            let lines = lines.map(|line| (class(line.fate), line.text)).collect();
            (StatusCode::OK, lines, String::new())
        }
        Err(error) => (error.status(), Vec::new(), error.message().to_owned()),
    };
    let page = PlanPage {
        top,
        name,
        lines,
        absent,
    };
    html(status, &page)
}

fn class(fate: Option<Fate>) -> &'static str {
    match fate {
        Some(Fate::Created) => "created",
        Some(Fate::Changed | Fate::Undecided) => "changed",
        Some(Fate::Destroyed) => "destroyed",
        Some(Fate::Kept) | None => "",
    }
}

/// `GET /assets/NAME`
pub async fn asset(Path(name): Path<String>) -> Result<impl IntoResponse, ApiError> {
    let (kind, content) = match name.as_str() {
        "style.css" => ("text/css; charset=utf-8", include_str!("assets/style.css")),
        "live.js" => (
            "text/javascript; charset=utf-8",
            include_str!("assets/live.js"),
        ),
        "icon.svg" => ("image/svg+xml", ICON),
        _ => {
            return Err(ApiError::new(
                StatusCode::NOT_FOUND,
                format!("there is no {name}"),
            ));
        }
    };
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::CACHE_CONTROL, "no-cache"),
    ];
    Ok((headers, content))
}

/// `GET /favicon.ico`, which browsers ask for before they have read a page.
pub async fn icon() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "image/svg+xml")], ICON)
}

const ICON: &str = include_str!("assets/icon.svg");

fn top(context: &Context) -> Top {
    let views::StatusWithWarnings { status, warnings } = views::status(context);
    let addresses: Vec<String> = status.addresses.iter().map(ToString::to_string).collect();
    Top {
        serving: status.cluster.is_some(),
        cluster: status.cluster.unwrap_or_else(|| "no cluster".into()),
        version: status.version,
        addresses: addresses.join(", "),
        problems: status.problems,
        warnings,
        notices: status
            .notices
            .into_iter()
            .rev()
            .map(NoticeLine::new)
            .collect(),
        declared: status.declared,
        running: status.running,
        ready: status.ready,
    }
}

fn html(status: StatusCode, page: &impl Template) -> Result<Response, ApiError> {
    let text = page.render().map_err(anyhow::Error::from)?;
    Ok((status, [(header::CACHE_CONTROL, "no-store")], Html(text)).into_response())
}
