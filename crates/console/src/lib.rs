//! The people-facing HTTP routes: JSON API and pages.
