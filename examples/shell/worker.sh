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

# attempt LINE: one attempt, in a process of its own. It stands in the folder of leases, so that the lease is kept.
attempt() {
    IFS=$'\x1f' read -r token job lease_ms attempt fence action value seconds steps bytes type checkpoint <<<"$1"
    lease="\"lease_token\": \"$token\""
    trap 'report ReportOutcomes "{\"outcomes\": [{$lease, \"stopped\": {\"reason\": \"cancel requested\"}}]}"; exit' USR1
    trap 'exit' USR2 # the lease is lost: nothing to report
    trap 'give_back "the worker is leaving"; exit' TERM
    trap 'rm -f "$leases/$BASHPID"' EXIT
    echo "$token $lease_ms" >"$leases/$BASHPID"
    handle "$action"
}

# keep_leases: heartbeats for all attempts, as long as the worker lives. Tells attempts by a signal to stop.
keep_leases() {
    trap '' TERM INT # it is needed until the last attempt has ended
    local -A pids ends_ms # by token
    local file token lease_ms beat_ms updates answer
    while kill -0 $$ 2>/dev/null; do
        pids=() updates='' beat_ms=500
        for file in "$leases"/*; do
            read -r token lease_ms 2>/dev/null <"$file" || continue # it has just ended
            pids[$token]=${file##*/}
            ends_ms[$token]=${ends_ms[$token]:-$(($(now_ms) + lease_ms))}
            updates+="${updates:+, }{\"lease_token\": \"$token\"}"
            beat_ms=$((lease_ms / 4 < 2500 ? lease_ms / 4 : 2500)) # a cancel is heard of by no other way
        done
        if [[ $updates ]] && answer=$(heartbeat "$updates" 2>/dev/null); then
            obey
        fi
        for token in "${!ends_ms[@]}"; do
            if [[ ! ${pids[$token]:-} ]]; then
                unset "ends_ms[$token]"
            elif (($(now_ms) >= ends_ms[$token])); then # lost, or over by our own clock
                kill -USR2 "${pids[$token]}" 2>/dev/null
            fi
        done
        nap "$(printf '%d.%03d' $((beat_ms / 1000)) $((beat_ms % 1000)))"
    done
    kill -USR2 "${pids[@]}" 2>/dev/null
    rm -rf "$leases"
}

# obey: reads the lease states of $answer. grpcurl prints a field a line, the token first, and no false.
obey() {
    local field value line
    while IFS='"' read -r _ field value line; do
        case $field$value in
        leaseToken:*) token=${line%%\"*} ends_ms[$token]=0 ;;
        'valid: true,' | 'valid: true') ends_ms[$token]=$(($(now_ms) + lease_ms)) ;;
        cancelRequested:*) kill -USR1 "${pids[$token]}" 2>/dev/null ;;
        esac
    done <<<"$answer"
}

heartbeat() { call WorkerService/Heartbeat 2 <<<"{\"worker_id\": \"$worker\", \"lease_updates\": [$1]}"; }

# update FIELDS: a heartbeat of this attempt alone, with progress or a checkpoint.
update() { heartbeat "{$lease, $1}" >/dev/null; }

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
leases=$(mktemp -d)
keep_leases & disown
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
