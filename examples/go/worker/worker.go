package main

import (
	"context"
	"fmt"
	"log"
	"math/rand/v2"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pb "example.com/jobwire/gen/jobwire/v1"
)

const (
	shortestBackoff = 200 * time.Millisecond
	longestBackoff  = 3 * time.Second
	itemsPerFrame   = 256
)

// worker holds what outlives a stream. Nothing in it waits while it has the lock.
type worker struct {
	client pb.WorkerServiceClient
	idle   chan struct{} // poked when it is leaving and holds nothing any more

	mu     sync.Mutex
	hello  *pb.WorkerHello // its window falls to 0 when the worker leaves
	jobs   map[string]*job // by lease token
	stream *session        // the newest one: only it sends

	maxFrame int // most bytes that the server takes in a frame
}

func newWorker(client pb.WorkerServiceClient, hello *pb.WorkerHello) *worker {
	return &worker{client: client, hello: hello, idle: make(chan struct{}, 1), jobs: map[string]*job{}}
}

// serve keeps a stream open until the worker has left. An error means that the server will not have this worker, or
// the cause why ctx ended before the goodbye.
func (w *worker) serve(ctx context.Context) error {
	for delay := shortestBackoff; ; delay = min(2*delay, longestBackoff) {
		s, err := w.open(ctx)
		if err == nil {
			delay = shortestBackoff
			err = w.follow(s)
		}
		switch status.Code(err) {
		case codes.InvalidArgument, codes.Unimplemented, codes.Unauthenticated, codes.PermissionDenied:
			return fmt.Errorf("the server refuses this worker: %w", err)
		}
		if w.isIdle() {
			return nil
		}
		if err != nil {
			log.Printf("no stream, trying again: %v", err)
		}
		select {
		case <-time.After(rand.N(delay)):
		case <-w.idle:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// follow returns when the next stream is due; what the last one had in the air is still received.
func (w *worker) follow(s *session) error {
	select {
	case <-s.drained:
		return nil
	case <-w.idle:
		s.halfClose()
	case <-s.done:
	}
	<-s.done
	return s.err
}

// leave asks for nothing more; serve returns when what is held has been reported.
func (w *worker) leave() {
	w.mu.Lock()
	defer w.mu.Unlock()
	log.Printf("leaving: %d jobs to finish", len(w.jobs))
	w.hello.MaxInFlight = 0
	w.changed()
}

func (w *worker) isIdle() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.hello.MaxInFlight == 0 && len(w.jobs) == 0
}

func (w *worker) stopAll(cause error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, j := range w.jobs {
		j.stop(cause)
	}
}

// changed lets the stream say what is new.
func (w *worker) changed() {
	if w.stream != nil {
		poke(w.stream.wake)
	}
	if w.hello.MaxInFlight == 0 && len(w.jobs) == 0 {
		poke(w.idle)
	}
}

func poke(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default: // it has been poked and has not looked yet
	}
}

// heartbeat names every lease held; with none it only says that the worker is there.
func (w *worker) heartbeat() []*pb.WorkRequest {
	w.mu.Lock()
	defer w.mu.Unlock()
	frames := []*pb.WorkRequest{{}}
	for _, j := range w.jobs {
		last := frames[len(frames)-1]
		if len(last.LeaseUpdates) == itemsPerFrame {
			last = &pb.WorkRequest{}
			frames = append(frames, last)
		}
		last.LeaseUpdates = append(last.LeaseUpdates, &pb.LeaseUpdate{LeaseToken: j.LeaseToken})
	}
	return frames
}
