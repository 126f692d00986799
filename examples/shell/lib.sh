# What both programs need: calls by grpcurl, JSON by python3. Sourced, not run.

address=${JOBWIRE_ADDRESS:-127.0.0.1:7780}
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
PATH=$PATH:$root/.venv/bin # where `make setup` puts grpcurl

for tool in grpcurl python3; do
    type -P "$tool" >/dev/null || { echo "there is no $tool: install it, or run make setup" >&2; exit 2; }
done

# Exit codes of grpcurl: 64 + the gRPC status code; 1 = not even connected.
readonly INVALID_ARGUMENT=67 DEADLINE_EXCEEDED=68 RESOURCE_EXHAUSTED=72 FAILED_PRECONDITION=73 UNAVAILABLE=78

# call SERVICE/METHOD SECONDS < request > answer: one call, JSON in, JSON out.
call() {
    grpcurl -plaintext -connect-timeout 5 -max-time "$2" -import-path "$root/protos" \
        -proto jobwire/v1/job_service.proto -proto jobwire/v1/worker_service.proto \
        -d @ "$address" "jobwire.v1.$1"
}

# is_passing CODE: the call may be made again.
is_passing() {
    (($1 == UNAVAILABLE || $1 == DEADLINE_EXCEEDED || $1 == RESOURCE_EXHAUSTED || $1 == 1))
}

# nap SECONDS: a sleep without a process, so that a signal ends it and leaves nothing behind.
exec {never}<> <(:)
nap() { read -rt "$1" -u "$never"; }

uuid() { cat /proc/sys/kernel/random/uuid 2>/dev/null || uuidgen; }

log() { echo "$*" >&2; }
