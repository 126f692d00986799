#!/usr/bin/env bash
# Submits one job and watches it to its end: submit_and_watch.sh TYPE JSON. See README.md.
set -uo pipefail
source "$(dirname "$0")/lib.sh"

patience=60 # seconds that the server may be away

(($# == 2)) || { log "usage: submit_and_watch TYPE JSON"; exit 2; }

# request TYPE JSON QUEUE: the request_id makes one job of it, however often it is sent.
request() {
    python3 -c '
import json, sys, uuid
kind, text, queue = sys.argv[1:]
payload = {"content_type": "application/json", "text": text}
print(json.dumps({"request_id": str(uuid.uuid4()), "spec": {"type": kind, "queue": queue, "payload": payload}}))' "$@"
}

# persist COMMAND...: runs it until it ends with something else than a passing fault. `heard` renews the patience.
persist() {
    heard
    local code
    while "$@"; code=$?; is_passing $code && ((SECONDS < until)); do
        log "trying again"
        nap 0.5
    done
    return $code
}

heard() { until=$((SECONDS + patience)); }

submit() { answer=$(call JobService/SubmitJob 10 <<<"$job"); }

# The answers are documents of several lines; the last line of each is a brace in the first column.
watch() {
    local line pid answers document=
    local request="{\"job_id\": \"$id\", \"view\": \"JOB_VIEW_FULL\"${revision:+, \"after_revision\": $revision}}"
    exec {answers}< <(call JobService/WatchJob 86400 <<<"$request")
    pid=$!
    while IFS= read -ru "$answers" line; do
        document+=$line
        [[ $line == '}' ]] || continue
        heard
        IFS=$'\t' read -r state revision words < <(told <<<"$document")
        last=$document document=
        log "$words"
    done
    exec {answers}<&-
    wait $pid # its exit code is the call's: OK after the terminal status
}

# told < answer: state, revision, and a line for people.
told() {
    python3 -c '
import json, sys
status = json.load(sys.stdin)["status"]
state = status["state"].removeprefix("JOB_STATE_")
words = [state]
if attempt := status.get("attempt"):
    words.append("attempt %d/%d" % (attempt, status["maxAttempts"]))
if (percent := status.get("progressPercent")) is not None:
    words.append("%.0f%% %s" % (percent, status.get("progressMessage", "")))
print(state, status["revision"], " ".join(words), sep="\t")'
}

# result < answer: the content of the result, whichever arm holds it.
result() {
    python3 -c '
import base64, json, sys
result = json.load(sys.stdin)["status"].get("result", {})
print(result["text"] if "text" in result else base64.b64decode(result.get("data", "")).decode())'
}

failure() {
    python3 -c '
import json, sys
status = json.load(sys.stdin)["status"]
error = status.get("lastError", {})
print("failed after %d attempts: %s: %s" % (status["attempt"], error.get("type"), error.get("message", "")))'
}

job=$(request "$1" "$2" "${JOBWIRE_QUEUE:-}")
persist submit || exit 1
id=$(python3 -c 'import json, sys; print(json.load(sys.stdin)["job"]["jobId"])' <<<"$answer")
log "job $id"

revision='' state=''
persist watch || exit 1
case $state in
COMPLETED) result <<<"$last" ;;
FAILED) failure <<<"$last" >&2; exit 3 ;;
*) exit 4 ;; # cancelled or expired
esac
