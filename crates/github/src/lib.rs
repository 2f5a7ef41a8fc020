//! GitHub: webhook verification and payloads, API client.
