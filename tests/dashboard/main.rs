//! The dashboard as people have it: in a real browser, against a running dispatcher.

mod access;
mod accessibility;
mod actions;
mod board;
mod deadlines;
mod hostile;
mod idle;
mod keys;
mod live;
mod night;
mod pages;
mod plumbing;

use e2e::browser;

type Tested = Result<(), Box<dyn std::error::Error>>;
