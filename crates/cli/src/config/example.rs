/// What `tidegate config example` prints. A test reads it, so it is always a valid configuration.
pub(crate) const EXAMPLE: &str = r#"# Configuration of `tidegate up`. Every key that is commented out shows its default.

# Where GitHub's webhooks arrive: `POST /webhook` and `GET /healthz`, nothing else.
listen = "127.0.0.1:8920"

# Everything else: clients and instances. Needs the token that the server writes into its state directory.
api_listen = "127.0.0.1:8921"

# Where people reach this server, for links in checks and commit statuses.
# base_url = "https://ci.example.com"

[webhook]
# The secret that GitHub signs deliveries with: in a file, or here as `secret = "…"`.
secret_file = "webhook.secret"
# Deliveries signed with the secret before are accepted too, while this file is there: `tidegate github rotate-secret`.
# previous_secret_file = "webhook.secret.old"

# Where results are shown. Without it they are only recorded. An App (`tidegate github setup` makes one) shows them as check
# runs, gives each job a token that reads its repository for an hour, and asks GitHub for webhooks that were lost. A token
# shows commit statuses, and reads the repositories there that not everybody may read, where they have none of their own.
# [github]
# app_id = 123456
# private_key_file = "github-app.pem"
# token_file = "github.token"           # instead of the App
# api_url = "https://api.github.com"    # `https://HOST/api/v3` of an enterprise server
# look_for_lost = "5m"                  # how often webhooks that did not arrive are looked for
# job_checks = "failed"                 # which jobs have a check of their own: "never", "failed" or "all"

# A repository that is built. `id` is what decides; the name is for people.
# `gh api repos/OWNER/NAME --jq .id` prints it.
[[repository]]
full_name = "octo-org/web"
id = 123456789
# clone_url = "https://github.com/octo-org/web.git"
# token_file = "web.token"   # a token that reads it; read anew whenever git needs it

# A repository without a pipeline here has one of its own name, read from `.tidegate/pipeline.yml` or the places where
# Buildkite looks.
# [[pipeline]]
# slug = "web-deploy"
# repository = "octo-org/web"
# file = ".tidegate/deploy.yml"
# branches = "main release/*"
# skip_intermediate_builds = true      # a newer build of a branch skips those that have not begun; or a filter: "!main"
# cancel_intermediate_builds = "!main" # a newer build of a branch cancels those that are not over
# pull_requests = true                 # whether pull requests are built; or into which branches: "main release/*"
# forks = "approved"                   # of those from forks: "never"; "approved" by `/approve SHA` of somebody who may write;
#                                      # or "always". `.tidegate/policy.yml` of the default branch can only narrow it.
# cancel_deleted_branches = true       # what is built of a branch that is deleted is canceled
#
# Builds at times: five fields of cron, in UTC. A slot makes one build; of several that were missed, only the last is made
# up for.
# [[pipeline.schedule]]
# cron = "0 3 * * 1-5"
# branch = "main"            # the default branch when not given
# env = { NIGHTLY = "1" }
# message = "Nightly"

# Machines: here child processes of the server. A job goes to the first pool that offers what its `agents` ask for; the
# pool's name is its `queue`. Without any pool there is one of name `default`, as wide as the machine has cores.
[[pool]]
name = "default"
width = 4
# idle = "60s"            # an idle instance leaves after this long
# hard_stop = "4h"        # an instance ends after this long, whatever happens
# tags = { os = "linux" }
# What jobs of this pool may not do; in `[hooks]`: of any pool that does not say it itself.
# no_command_eval = false # only scripts that are files of the repository are run
# no_local_hooks = false  # hooks of the repository make their job fail
# no_plugins = false      # plugins make their job fail; `true` when one of the two above is, and this is not given
# trust = "trusted"       # "untrusted": for pull requests from forks, and for nothing else (docs/trust.md)
# isolation = "none, at my own risk"  # without this no pool of this server runs what is not trusted

# [limits]
# wait = "24h"            # a job that no instance takes ends `expired` after this long
# grace = "10s"           # between SIGTERM and SIGKILL when a job is canceled or its time is over
# silence = "10m"         # an instance that does not report for this long is given up
# boot = "60s"            # an instance must report within this long after its launch
# beat = "1s"             # how often an instance reports
# log_bytes = 1073741824  # how much of a job's log is kept
# build_jobs = 4000       # jobs of one build, uploads included
# build_uploads = 500     # uploads of one build
# untrusted_timeout = "1h"  # how long one job of a fork's pull request may run
# untrusted_jobs = 100      # jobs of one build of a fork's pull request
# Caps on one pipeline text, the file of a commit or an upload. `tidegate pipeline` reads them too.
# bytes = 1048576
# depth = 64              # lists and maps in each other
# nodes = 100000          # values, lists and maps, after aliases are followed
# aliases = 10000
# expanded_bytes = 4194304  # after aliases, variables and matrices
# jobs = 500
# matrix_jobs = 50        # of one matrix, as what follows
# matrix_dimensions = 6
# matrix_values = 25
# matrix_value_bytes = 128
# matrix_adjustments = 12
# condition_bytes = 8192
# expression_depth = 64   # of a condition, or of variables in variables
# regex_backtracks = 100000
# pattern_bytes = 1024    # of one glob

# What `notify` of pipelines needs. Outgoing webhooks are signed: `X-Tidegate-Signature-256` is `sha256=` and the HMAC of the
# body in hex; `X-Tidegate-Delivery` is the same for every try of one message.
# [notify]
# webhook_secret_file = "notify.secret"
# slack_url_file = "slack.url"  # Slack's incoming webhook
# allow_private = false         # whether requests may go to addresses of private networks

# How long builds are kept after their end, with their logs and artifacts.
# [retention]
# builds = "90d"
"#;
