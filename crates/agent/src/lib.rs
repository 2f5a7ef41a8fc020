//! What boots on an instance: claim, check out, run, stream, upload, report, idle out.
