// Command submit_and_watch submits one job and watches it to its end; see README.md.
package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	pb "example.com/jobwire/gen/jobwire/v1"
)

const (
	patience = time.Minute // how long the server may be away
	pause    = 500 * time.Millisecond
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: submit_and_watch TYPE JSON")
		os.Exit(2)
	}
	job, err := submitAndWatch(context.Background(), os.Args[1], os.Args[2])
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
	switch job.State {
	case pb.JobState_JOB_STATE_COMPLETED:
		fmt.Println(cmp.Or(job.Result.GetText(), string(job.Result.GetData())))
	case pb.JobState_JOB_STATE_FAILED:
		fmt.Fprintf(os.Stderr, "failed after %d attempts: %s: %s\n", job.Attempt, job.LastError.GetType(), job.LastError.GetMessage())
		os.Exit(3)
	default: // cancelled or expired
		os.Exit(4)
	}
}

func submitAndWatch(ctx context.Context, jobType, json string) (*pb.JobStatus, error) {
	address := cmp.Or(os.Getenv("JOBWIRE_ADDRESS"), "127.0.0.1:7780")
	// A channel's own backoff grows to two minutes: too long for a server that only restarts.
	steady := grpc.ConnectParams{Backoff: backoff.Config{BaseDelay: pause, MaxDelay: pause}, MinConnectTimeout: 5 * time.Second}
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithConnectParams(steady))
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	jobs := pb.NewJobServiceClient(conn)

	id, err := submit(ctx, jobs, &pb.SubmitJobRequest{
		RequestId: rand.Text(), // repeats of this request never make a second job
		Spec: &pb.JobSpec{
			Queue:   os.Getenv("JOBWIRE_QUEUE"),
			Type:    jobType,
			Payload: &pb.Payload{ContentType: "application/json", Content: &pb.Payload_Text{Text: json}},
		},
	})
	if err != nil {
		return nil, err
	}
	return watch(ctx, jobs, id)
}

func submit(ctx context.Context, jobs pb.JobServiceClient, request *pb.SubmitJobRequest) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		call, done := context.WithTimeout(ctx, 10*time.Second)
		response, err := jobs.SubmitJob(call, request)
		done()
		if err == nil {
			fmt.Fprintln(os.Stderr, "job", response.Job.JobId)
			return response.Job.JobId, nil
		}
		if err := retry(ctx, err); err != nil {
			return "", err
		}
	}
}

// watch follows the job through cuts of the connection: each new call goes on after the last revision seen.
func watch(ctx context.Context, jobs pb.JobServiceClient, id string) (*pb.JobStatus, error) {
	request := &pb.WatchJobRequest{JobId: id, View: pb.JobView_JOB_VIEW_FULL}
	until := time.Now().Add(patience)
	var last *pb.JobStatus
	for {
		stream, err := jobs.WatchJob(ctx, request)
		for err == nil {
			var response *pb.WatchJobResponse
			if response, err = stream.Recv(); err == nil {
				last = response.Status
				request.AfterRevision = &last.Revision
				until = time.Now().Add(patience)
				fmt.Fprintln(os.Stderr, line(last))
			}
		}
		if errors.Is(err, io.EOF) && last != nil {
			return last, nil // the stream ends with OK after the terminal status
		}
		limited, cancel := context.WithDeadline(ctx, until)
		err = retry(limited, err)
		cancel()
		if err != nil {
			return nil, err
		}
	}
}

// retry waits and returns nil when the call may be made again, else the error.
func retry(ctx context.Context, err error) error {
	switch status.Code(err) {
	case codes.Unavailable, codes.DeadlineExceeded, codes.ResourceExhausted:
	default:
		return err
	}
	fmt.Fprintln(os.Stderr, "trying again:", status.Convert(err).Message())
	select {
	case <-time.After(pause):
		return nil
	case <-ctx.Done():
		return err
	}
}

func line(s *pb.JobStatus) string {
	text := strings.TrimPrefix(s.State.String(), "JOB_STATE_")
	if s.Attempt > 0 {
		text += fmt.Sprintf(" attempt %d/%d", s.Attempt, s.MaxAttempts)
	}
	if s.ProgressPercent != nil {
		text += fmt.Sprintf(" %.0f%% %s", *s.ProgressPercent, s.ProgressMessage)
	}
	return text
}
