package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	pb "example.com/jobwire/gen/jobwire/v1"
)

// Why a handler has to stop: the cause of its context.
var (
	errLeaseLost = errors.New("the lease is lost: another attempt may be running")
	errLeaving   = errors.New("the worker is leaving")
)

type cancelled struct{ reason string }

func (c cancelled) Error() string { return "cancelled: " + c.reason }

var errRelease = errors.New("the payload asks for it")

// failure is an error that says how the job goes on. Any other error of a handler is retried as the policy says.
type failure struct {
	Type, Message string
	Retryable     bool
	Delay         time.Duration // 0: the policy's backoff
}

func (f *failure) Error() string { return f.Type + ": " + f.Message }

// order is the payload of a job.
type order struct {
	Do      string          `json:"do"`
	Value   json.RawMessage `json:"value"`
	Seconds float64         `json:"seconds"`
	Steps   int             `json:"steps"`
	Type    string          `json:"type"`
	Bytes   int             `json:"bytes"`
}

// handle runs one attempt. It returns soon after ctx is done, with the cause.
func handle(ctx context.Context, a *pb.Assignment, update func(*pb.LeaseUpdate)) (success *pb.Success, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v", r)
		}
	}()
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	var o order
	if err := json.Unmarshal(content(a.Payload), &o); err != nil {
		return nil, &failure{Type: "BadPayload", Message: err.Error()}
	}
	switch o.Do {
	case "echo":
		return &pb.Success{Result: jsonPayload(o.Value)}, nil
	case "fail":
		return nil, &failure{Type: "Boom", Message: "failed as asked", Retryable: true}
	case "fail_for_good":
		return nil, &failure{Type: "Boom", Message: "failed for good as asked"}
	case "sleep":
		if err := sleep(ctx, seconds(o.Seconds)); err != nil {
			return nil, err
		}
		return &pb.Success{Result: jsonPayload(fmt.Appendf(nil, `{"slept": %v}`, o.Seconds))}, nil
	case "progress":
		for step := 1; step <= o.Steps; step++ {
			update(&pb.LeaseUpdate{
				ProgressPercent: proto.Float64(100 * float64(step) / float64(o.Steps)),
				ProgressMessage: fmt.Sprintf("step %d of %d", step, o.Steps),
			})
			if err := sleep(ctx, 100*time.Millisecond); err != nil {
				return nil, err
			}
		}
		return &pb.Success{Result: jsonPayload(fmt.Appendf(nil, `{"steps": %d}`, o.Steps))}, nil
	case "release":
		if a.Fence == 1 {
			return nil, errRelease
		}
		return &pb.Success{Result: jsonPayload(fmt.Appendf(nil, `{"fence": %d}`, a.Fence))}, nil
	case "retry_after":
		if a.Attempt == 1 {
			return nil, &failure{Type: "Boom", Message: "later", Retryable: true, Delay: seconds(o.Seconds)}
		}
		return &pb.Success{Result: jsonPayload(fmt.Appendf(nil, `{"attempt": %d}`, a.Attempt))}, nil
	case "checkpoint":
		if a.Attempt > 1 {
			return &pb.Success{Result: cmp.Or(a.Checkpoint, jsonPayload([]byte("null")))}, nil
		}
		update(&pb.LeaseUpdate{Checkpoint: jsonPayload([]byte(`{"i": 7}`))})
		return nil, &failure{Type: "Boom", Message: "the next attempt goes on from the checkpoint", Retryable: true}
	case "follow_up":
		spec := &pb.JobSpec{Queue: a.Queue, Type: o.Type, Payload: jsonPayload(o.Value)}
		return &pb.Success{FollowUps: []*pb.SubmitJobRequest{{Spec: spec}}}, nil
	case "big":
		return &pb.Success{Result: jsonPayload([]byte(`"` + strings.Repeat("x", o.Bytes) + `"`))}, nil
	}
	return nil, &failure{Type: "BadPayload", Message: fmt.Sprintf("there is no %q to do", o.Do)}
}

func outcomeOf(token []byte, success *pb.Success, err error) *pb.Outcome {
	o := &pb.Outcome{LeaseToken: token}
	var c cancelled
	var f *failure
	switch {
	case err == nil:
		o.Outcome = &pb.Outcome_Success{Success: success}
	case errors.As(err, &c):
		o.Outcome = &pb.Outcome_Stopped{Stopped: &pb.Stopped{Reason: c.reason}}
	case errors.Is(err, errLeaving), errors.Is(err, errRelease):
		o.Outcome = &pb.Outcome_Release{Release: &pb.Release{Reason: err.Error()}}
	case errors.As(err, &f):
		failed := &pb.Failure{Error: &pb.JobError{Type: f.Type, Message: f.Message, Retryable: f.Retryable}}
		if f.Delay > 0 {
			failed.RetryDelay = durationpb.New(f.Delay)
		}
		o.Outcome = &pb.Outcome_Failure{Failure: failed}
	default:
		unexpected := &pb.JobError{Type: fmt.Sprintf("%T", err), Message: err.Error(), Retryable: true}
		o.Outcome = &pb.Outcome_Failure{Failure: &pb.Failure{Error: unexpected}}
	}
	return o
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// content returns the data of a payload, whichever arm holds it.
func content(p *pb.Payload) []byte {
	if text := p.GetText(); text != "" {
		return []byte(text)
	}
	return p.GetData()
}

func jsonPayload(value []byte) *pb.Payload {
	return &pb.Payload{ContentType: "application/json", Content: &pb.Payload_Data{Data: value}}
}
