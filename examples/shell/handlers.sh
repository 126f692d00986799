# What jobs of the type "conformance" do: put your own here. Sourced by worker.sh, which sets the variables.

# handle ACTION: one attempt. A signal ends it at a `nap`.
handle() {
    case $1 in
    echo) complete "$value" ;;
    fail) fail Boom "failed, as asked" true ;;
    fail_for_good) fail Boom "failed for good, as asked" false ;;
    sleep)
        nap "$seconds"
        complete "{\"slept\": $seconds}"
        ;;
    progress)
        local i
        for ((i = 1; i <= steps; i++)); do
            update "\"progress_percent\": $((100 * i / steps)), \"progress_message\": \"step $i of $steps\"" >/dev/null
            nap 0.1
        done
        complete "{\"steps\": $steps}"
        ;;
    release)
        if ((fence == 1)); then
            give_back "the payload asks for it"
        else
            complete "{\"fence\": $fence}"
        fi
        ;;
    retry_after)
        if ((attempt == 1)); then
            fail Boom "later, as asked" true "\"retry_delay\": \"${seconds}s\""
        else
            complete "{\"attempt\": $attempt}"
        fi
        ;;
    checkpoint)
        if ((attempt == 1)); then
            update "\"checkpoint\": {\"content_type\": \"application/json\", \"text\": \"{\\\"i\\\": 7}\"}" >/dev/null
            fail Boom "the next attempt goes on from the checkpoint" true
        else
            complete "$(base64 -d <<<"$checkpoint")"
        fi
        ;;
    follow_up)
        local payload
        payload="{\"content_type\": \"application/json\", \"data\": \"$(printf %s "$value" | base64 -w0)\"}"
        complete null "\"follow_ups\": [{\"spec\": {\"queue\": \"$queue\", \"type\": $type, \"payload\": $payload}}]"
        ;;
    big) complete "\"$(head -c "$bytes" /dev/zero | tr '\0' x)\"" ;;
    *) fail BadPayload "there is no such thing to do" false ;;
    esac
}
