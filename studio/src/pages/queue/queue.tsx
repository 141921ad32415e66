// Jobs as they wait, run and end, those of a batch together; every change can be taken back as long as a job is not over.
import { Link } from "@tanstack/react-router";
import { useState } from "react";
import { send } from "../../api/client";
import { type Job, useJobs, useQueueInfo, useSession } from "../../api/queries";
import { Button, Segments } from "../../ui/controls";
import { Empty, Failed, Skeletons } from "../../ui/feedback";
import { toastError } from "../../ui/toasts";
import { Batch } from "./batch";
import { Row } from "./row";

const STATES = [
  { id: "all", name: "All" },
  { id: "pending", name: "Waiting" },
  { id: "processing", name: "Running" },
  { id: "paused", name: "Paused" },
  { id: "completed", name: "Done" },
  { id: "failed", name: "Failed" },
  { id: "cancelled", name: "Cancelled" },
];

export function Queue() {
  const [status, setStatus] = useState("all");
  const jobs = useJobs(status === "all" ? {} : { status });
  const lanes = useQueueInfo();
  const mayStop = useSession().data?.scopes.includes("admin");
  const stop = async (lane: string, isStopped: boolean) => {
    try {
      await send("POST", `/api/admin/lanes/${lane}/${isStopped ? "pause" : "resume"}`);
      await lanes.refetch();
    } catch (error) {
      toastError(error);
    }
  };
  const shown = jobs.data?.pages.flatMap((page) => page.jobs) ?? [];
  return (
    <div className="page">
      <div className="row spread">
        <h1>Queue</h1>
        <div className="row">
          {Object.entries(lanes.data?.lanes ?? {}).map(([name, lane]) => (
            <span key={name} className="actions">
              <span className={lane.is_paused ? "chip warning" : "chip"}>
                {name}: {lane.processing} of {lane.slots} running, {lane.pending} waiting
                {lane.is_paused ? ", stopped" : ""}
              </span>
              {mayStop && (
                <Button quiet onPress={() => stop(name, !lane.is_paused)}>
                  {lane.is_paused ? `Resume ${name}` : `Stop ${name}`}
                </Button>
              )}
            </span>
          ))}
        </div>
      </div>
      <Segments label="State" value={status} onChange={setStatus} options={STATES} />
      {jobs.isError && <Failed error={jobs.error} retry={jobs.refetch} />}
      <ul className="list" aria-label="Jobs">
        {jobs.isPending && <Skeletons count={5} className="line" />}
        {together(shown).map((group) =>
          group.length > 1 ? (
            <Batch key={group[0]?.batch_id} jobs={group} />
          ) : (
            group.map((job) => <Row key={job.id} job={job} />)
          ),
        )}
      </ul>
      {jobs.hasNextPage && (
        <div className="actions">
          <Button onPress={() => jobs.fetchNextPage()} isDisabled={jobs.isFetchingNextPage}>
            Show older ones
          </Button>
        </div>
      )}
      {jobs.data && shown.length === 0 && (
        <Empty title={status === "all" ? "No jobs yet" : "None of these"}>
          <p>Drawings and conversions appear here as soon as they are sent.</p>
          {status === "all" && (
            <Link to="/" className="button plain">
              Draw something
            </Link>
          )}
        </Empty>
      )}
    </div>
  );
}

/** Neighbours of the same batch. */
function together(jobs: Job[]): Job[][] {
  const groups: Job[][] = [];
  for (const job of jobs) {
    const last = groups.at(-1);
    if (last && job.batch_id && last[0]?.batch_id === job.batch_id) last.push(job);
    else groups.push([job]);
  }
  return groups;
}
