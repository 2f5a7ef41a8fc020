//! Embedded adapters: SQLite store and queues, directory blobs, child-process fleet.
