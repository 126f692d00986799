package main

import (
	"context"
	"fmt"
	"log"
	"time"

	"google.golang.org/protobuf/proto"

	pb "example.com/jobwire/gen/jobwire/v1"
)

// job is a lease that this worker holds: from its assignment until its outcome is acked or the lease is lost.
type job struct {
	*pb.Assignment
	stop  context.CancelCauseFunc
	lease *time.Timer // fires when the lease has ended by our own clock

	// What the server has to hear, and the stream that was told last: a new stream is told everything again.
	update              *pb.LeaseUpdate // newest progress and checkpoint
	outcome             *pb.Outcome     // nil while the handler runs
	updateOn, outcomeOn *session
}

func (w *worker) start(a *pb.Assignment) {
	ctx, stop := context.WithCancelCause(context.Background())
	j := &job{Assignment: a, stop: stop}
	w.jobs[string(a.LeaseToken)] = j
	j.lease = time.AfterFunc(a.LeaseRemaining.AsDuration(), func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		if j.outcome == nil { // an outcome is kept: the server may have it
			w.drop(j, errLeaseLost)
		}
	})
	if w.hello.MaxInFlight == 0 { // it crossed our goodbye
		stop(errLeaving)
	}
	go func() {
		success, err := handle(ctx, a, func(news *pb.LeaseUpdate) { w.update(j, news) })
		w.finish(j, outcomeOf(a.LeaseToken, success, err))
	}()
}

// update keeps a checkpoint beside newer progress: on a new stream both are said again.
func (w *worker) update(j *job, news *pb.LeaseUpdate) {
	w.mu.Lock()
	defer w.mu.Unlock()
	merged := &pb.LeaseUpdate{LeaseToken: j.LeaseToken}
	proto.Merge(merged, j.update)
	proto.Merge(merged, news)
	j.update, j.updateOn = merged, nil
	w.changed()
}

func (w *worker) finish(j *job, outcome *pb.Outcome) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if size := proto.Size(&pb.WorkRequest{Outcomes: []*pb.Outcome{outcome}}); size > w.maxFrame {
		// The server would end the stream, each time.
		outcome = outcomeOf(j.LeaseToken, nil, refusal(fmt.Sprintf("%d bytes; at most %d are taken", size, w.maxFrame)))
	}
	j.outcome, j.outcomeOn = outcome, nil
	w.changed()
}

// drop forgets a job; its handler may still be on its way out, and is not reported.
func (w *worker) drop(j *job, cause error) {
	j.stop(cause)
	j.lease.Stop()
	delete(w.jobs, string(j.LeaseToken))
	w.changed()
}

// refusal is reported in the place of an outcome that the server does not take.
func refusal(message string) *failure { return &failure{Type: "OutcomeRefused", Message: message} }

func (w *worker) acked(ack *pb.OutcomeAck) {
	j, ok := w.jobs[string(ack.LeaseToken)]
	switch {
	case !ok || j.outcome == nil: // an ack that was overtaken by the loss of the lease, or that is a repetition
	case ack.Code == pb.OutcomeCode_OUTCOME_CODE_RETRY:
		outcome := j.outcome
		time.AfterFunc(time.Second, func() { w.finish(j, outcome) })
	case ack.Code == pb.OutcomeCode_OUTCOME_CODE_INVALID && j.outcome.GetFailure() == nil:
		log.Printf("job %s: the outcome is refused: %s", j.JobId, ack.Message)
		j.outcome, j.outcomeOn = outcomeOf(j.LeaseToken, nil, refusal(ack.Message)), nil
		w.changed()
	default: // recorded, or too late for good
		w.drop(j, nil)
	}
}

func (w *worker) renewed(lease *pb.LeaseState) {
	j, ok := w.jobs[string(lease.LeaseToken)]
	switch {
	case !ok:
	case !lease.Valid:
		log.Printf("job %s attempt %d: the lease is lost", j.JobId, j.Attempt)
		w.drop(j, errLeaseLost)
	default:
		j.lease.Reset(lease.Remaining.AsDuration())
		if lease.CancelRequested {
			j.stop(cancelled{"cancel requested"})
		}
	}
}
