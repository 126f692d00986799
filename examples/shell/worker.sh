#!/usr/bin/env bash
# Runs jobs of the type "conformance" by unary calls; see README.md.
set -uo pipefail
source "$(dirname "$0")/lib.sh"
source "$(dirname "$0")/handlers.sh"

worker=${JOBWIRE_WORKER_ID:-shell-$$}
queue=${JOBWIRE_QUEUE:-default}
slots=${JOBWIRE_SLOTS:-8}

# pull COUNT: the assignments, JSON.
pull() {
    call WorkerService/PullJobs 10 <<<"{
        \"worker_id\": \"$worker\", \"queues\": [{\"queue\": \"$queue\"}], \"types\": [\"conformance\"],
        \"max_jobs\": $1, \"wait_timeout\": \"2s\", \"request_id\": \"$instance-$pulls\"}"
}

# lines < assignments: a line for each, its fields apart by US (0x1f), so that empty ones stay.
lines() {
    python3 -c '
import base64, json, sys

def content(payload):
    return payload["text"].encode() if "text" in payload else base64.b64decode(payload.get("data", ""))

for job in json.load(sys.stdin)["assignments"]:
    try:
        order = json.loads(content(job.get("payload", {})))
        action = order["do"]
    except (ValueError, KeyError, TypeError):
        order, action = {}, ""
    checkpoint = content(job.get("checkpoint", {})) or b"null"
    lease_ms = round(float(job["leaseRemaining"].rstrip("s")) * 1000)
    print(job["leaseToken"], job["jobId"], lease_ms, job["attempt"], job["fence"], action,
          *(json.dumps(order.get(name)) for name in ("value", "seconds", "steps", "bytes", "type")),
          base64.b64encode(checkpoint).decode(), sep="\x1f")'
}

# attempt LINE: one attempt, in a process of its own, with one beside it that keeps the lease.
attempt() {
    IFS=$'\x1f' read -r token job lease_ms attempt fence action value seconds steps bytes type checkpoint <<<"$1"
    lease="\"lease_token\": \"$token\""
    trap 'report ReportOutcomes "{\"outcomes\": [{$lease, \"stopped\": {\"reason\": \"cancel requested\"}}]}"; exit' USR1
    trap 'exit' USR2 # the lease is lost: nothing to report
    trap 'give_back "the worker is leaving"; exit' TERM
    local self=$BASHPID
    keep_lease $self &
    keeper=$!
    trap 'kill $keeper 2>/dev/null' EXIT
    handle "$action"
}

# keep_lease PID: heartbeats until the attempt has ended. Tells it by a signal to stop.
keep_lease() {
    trap - EXIT USR1 USR2 TERM
    local answer beat_ms=$((lease_ms / 4)) ends_ms=$(($(now_ms) + lease_ms))
    ((beat_ms > 2500)) && beat_ms=2500 # a cancel is heard of by no other way
    while nap "$(printf '%d.%03d' $((beat_ms / 1000)) $((beat_ms % 1000)))"; kill -0 "$1" 2>/dev/null && kill -0 $$; do
        if answer=$(update 2>/dev/null); then
            if [[ $answer != *'"valid": true'* ]]; then
                break
            elif [[ $answer == *'"cancelRequested": true'* ]]; then
                kill -USR1 "$1"
            fi
            ends_ms=$(($(now_ms) + lease_ms))
        elif (($(now_ms) > ends_ms)); then
            break # it has ended by our own clock
        fi
    done
    kill -USR2 "$1" 2>/dev/null
}

# update [FIELDS]: a heartbeat, with progress or a checkpoint if given.
update() {
    call WorkerService/Heartbeat 5 <<<"{\"worker_id\": \"$worker\", \"lease_updates\": [{$lease${1:+, $1}}]}"
}

# report METHOD REQUEST: until the server has answered. Returns INVALID_ARGUMENT when it refuses what it was told.
report() {
    trap '' USR1 TERM # it has an outcome: too late to stop
    local code answer
    while answer=$(call "WorkerService/$1" 10 <<<"$2" 2>&1); code=$?; is_passing $code || [[ $answer == *_RETRY* ]]; do
        [[ $answer == *'larger than max'* ]] && return $INVALID_ARGUMENT
        nap 0.5
    done
    ((code == 0)) || log "job $job: $answer"
    return $code
}

complete() { # RESULT [FIELDS]
    local data
    data=$(printf %s "$1" | base64 -w0)
    report CompleteJob "{$lease, \"result\": {\"content_type\": \"application/json\", \"data\": \"$data\"}${2:+, $2}}"
    if (($? == INVALID_ARGUMENT)); then
        fail OutcomeRefused "the server refuses the result" false
    fi
}

fail() { # TYPE MESSAGE RETRYABLE [FIELDS]
    report FailJob "{$lease, \"error\": {\"type\": \"$1\", \"message\": \"$2\", \"retryable\": $3}${4:+, $4}}"
}

give_back() { # REASON
    report ReportOutcomes "{\"outcomes\": [{$lease, \"release\": {\"reason\": \"$1\"}}]}"
}

now_ms() { echo $((${EPOCHREALTIME/[.,]/} / 1000)); }

running() { jobs -rp | wc -l; }

# Until SIGTERM. Bash runs a trap after the command in the foreground, so a pull that is under way ends first.
leaving=
trap 'leaving=1' TERM INT
instance=$(uuid) pulls=0
while [[ ! $leaving ]]; do
    free=$((slots - $(running)))
    if ((free == 0)); then
        wait -n
    elif answer=$(pull "$free"); then
        ((pulls++)) # a repeated id brings the same jobs again: that is for a pull without an answer
        [[ $answer == *assignments* ]] || continue
        while IFS= read -r line; do
            attempt "$line" &
        done < <(lines <<<"$answer")
    else
        log "no answer, trying again"
        nap 0.5
    fi
done

# Attempts get 2 s to end by themselves, then they give their jobs back, and 5 s for that.
log "leaving: $(running) jobs to finish"
for try in {1..70}; do
    [[ $(jobs -rp) ]] || exit 0
    ((try == 20)) && kill -TERM $(jobs -rp)
    nap 0.1
done
log "left without a goodbye: the server cannot be reached"
kill -USR2 $(jobs -rp)
exit 1
