package main

import (
	"context"
	"errors"
	"io"
	"log"
	"math/rand/v2"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	pb "example.com/jobwire/gen/jobwire/v1"
)

const silence = 45 * time.Second // the server sends something every 15 s

// session is one Work stream: a goroutine that reads, and one that writes what the worker has not told this stream yet.
type session struct {
	stream    grpc.BidiStreamingClient[pb.WorkRequest, pb.WorkResponse]
	beat      time.Duration
	wake      chan struct{}
	leaving   context.Context
	halfClose context.CancelFunc // say no more, hear the rest
	drained   chan struct{}      // poked when the next stream is due
	done      chan struct{}
	err       error // how it ended, once done

	// Guarded by the worker's lock.
	window     int32
	ping, pong uint64
}

// open says hello, waits for the welcome, and makes this the stream that the worker speaks on.
func (w *worker) open(ctx context.Context) (*session, error) {
	ctx, cut := context.WithCancel(ctx)
	watchdog := time.AfterFunc(silence, cut)
	s := &session{wake: make(chan struct{}, 1), drained: make(chan struct{}, 1), done: make(chan struct{})}
	s.leaving, s.halfClose = context.WithCancel(ctx)
	welcome, err := w.greet(ctx, s)
	if err != nil {
		cut()
		return nil, err
	}
	s.beat = welcome.HeartbeatInterval.AsDuration() * 2 / 3

	w.mu.Lock()
	w.maxFrame = int(welcome.MaxFrameBytes)
	for _, lease := range welcome.Leases {
		w.renewed(lease)
	}
	if w.stream != nil {
		w.stream.halfClose()
	}
	w.stream = s
	w.mu.Unlock()

	go s.write(w)
	go func() {
		s.err = s.read(w, watchdog)
		cut()
		close(s.done)
	}()
	log.Printf("stream %s: %d leases held", welcome.SessionId, len(welcome.Leases))
	return s, nil
}

func (w *worker) greet(ctx context.Context, s *session) (*pb.WorkerWelcome, error) {
	w.mu.Lock()
	hello := proto.CloneOf(w.hello)
	for token := range w.jobs {
		hello.HeldLeaseTokens = append(hello.HeldLeaseTokens, []byte(token))
	}
	w.mu.Unlock()
	s.window = hello.MaxInFlight
	var err error
	if s.stream, err = w.client.Work(ctx); err != nil {
		return nil, err
	}
	if err := s.stream.Send(&pb.WorkRequest{Hello: hello}); err != nil && err != io.EOF {
		return nil, err // EOF: Recv knows why
	}
	frame, err := s.stream.Recv()
	if err != nil {
		return nil, err
	}
	if frame.Welcome == nil {
		return nil, errors.New("the first frame has no welcome: is this a jobwire server?")
	}
	return frame.Welcome, nil
}

// read never waits for the writer, else both ends could wait for each other to read.
func (s *session) read(w *worker, watchdog *time.Timer) error {
	defer watchdog.Stop()
	for {
		frame, err := s.stream.Recv()
		if err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		watchdog.Reset(silence)
		s.receive(w, frame)
	}
}

func (s *session) receive(w *worker, frame *pb.WorkResponse) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, a := range frame.Assignments {
		w.start(a)
	}
	for _, ack := range frame.OutcomeAcks {
		w.acked(ack)
	}
	for _, lease := range frame.LeaseStates {
		w.renewed(lease)
	}
	for _, order := range frame.CancelOrders {
		if j, ok := w.jobs[string(order.LeaseToken)]; ok {
			j.stop(cancelled{order.Reason})
		}
	}
	if frame.PingId != 0 {
		s.ping = frame.PingId
		poke(s.wake)
	}
	if drain := frame.Drain; drain != nil && drain.Reason != "REPLACED" { // replaced: the newer stream is ours
		log.Printf("the server wants a new stream: %s", drain.Reason)
		delay := drain.ReconnectDelay.AsDuration()
		time.AfterFunc(delay+rand.N(delay+time.Millisecond), func() { poke(s.drained) })
	}
}

func (s *session) write(w *worker) {
	beat := time.NewTicker(s.beat)
	defer beat.Stop()
	for {
		for frame := s.next(w); frame != nil; frame = s.next(w) {
			if s.stream.Send(frame) != nil {
				return // the reader learns why
			}
		}
		select {
		case <-s.wake:
		case <-beat.C:
			for _, frame := range w.heartbeat() {
				if s.stream.Send(frame) != nil {
					return
				}
			}
		case <-s.leaving.Done():
			s.stream.CloseSend()
			return
		}
	}
}

// next returns what this stream has to say, a job a frame: no frame is then out of its bounds. Nil: nothing.
func (s *session) next(w *worker) *pb.WorkRequest {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.stream != s {
		return nil
	}
	if s.pong != s.ping {
		s.pong = s.ping
		return &pb.WorkRequest{PongId: s.pong}
	}
	if s.window != w.hello.MaxInFlight {
		s.window = w.hello.MaxInFlight
		return &pb.WorkRequest{MaxInFlight: &s.window}
	}
	for _, j := range w.jobs {
		switch {
		case j.outcome != nil && j.outcomeOn != s:
			j.outcomeOn = s
			frame := &pb.WorkRequest{Outcomes: []*pb.Outcome{j.outcome}}
			if j.update != nil && j.outcome.GetSuccess() == nil {
				// The next attempt needs the checkpoint. In a frame of its own it could be overtaken by the outcome.
				frame.LeaseUpdates = []*pb.LeaseUpdate{j.update}
			}
			return frame
		case j.outcome == nil && j.update != nil && j.updateOn != s:
			j.updateOn = s
			return &pb.WorkRequest{LeaseUpdates: []*pb.LeaseUpdate{j.update}}
		}
	}
	return nil
}
