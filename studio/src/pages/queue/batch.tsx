// The jobs of one request, folded away behind their sum.
import { useQuery } from "@tanstack/react-query";
import { local, request, type Schemas, send } from "../../api/client";
import { type Job, queryClient } from "../../api/queries";
import { Button, LinkButton } from "../../ui/controls";
import { Progress } from "../../ui/feedback";
import { counted, when } from "../../ui/format";
import { toastError } from "../../ui/toasts";
import { Row } from "./row";

const MOST_SHOWN = 12;

export function Batch({ jobs }: { jobs: Job[] }) {
  const [first] = jobs;
  const id = first?.batch_id ?? "";
  const states = jobs.map(({ status, progress }) => `${status} ${progress}`).join();
  // Some of its jobs may be on a later page: its own figures, asked for anew when one of those here has changed.
  const { data } = useQuery({
    queryKey: ["jobs", "batch", id, states],
    queryFn: () => request<Schemas["BatchInfo"]>("GET", `/v1/batches/${id}`),
    staleTime: Number.POSITIVE_INFINITY,
    placeholderData: (before) => before,
  });
  if (!first) return null;
  const counts = data?.counts ?? {};
  const total = Object.values(counts).reduce((sum, count) => sum + count, 0) || jobs.length;
  const name = first.prompt || first.kind;
  const cancel = async () => {
    try {
      await send("POST", `/v1/batches/${id}/cancel`);
    } catch (error) {
      toastError(error);
    }
    queryClient.invalidateQueries({ queryKey: ["jobs"] });
    queryClient.invalidateQueries({ queryKey: ["queue"] });
  };
  return (
    <li className="card batch">
      <div className="jobhead">
        <div className="grow">
          <p className="ellipsis" title={name}>
            {name}
          </p>
          <p className="muted">
            {counted(total, "job")} ·{" "}
            {Object.entries(counts)
              .filter(([, count]) => count)
              .map(([status, count]) => `${count} ${status}`)
              .join(", ")}{" "}
            · {when(first.created_at)}
          </p>
          {data && !data.over && <Progress value={data.progress} label={`Progress of the batch ${name}`} />}
        </div>
        <div className="actions">
          {data && !data.over && (
            <Button quiet label={`Cancel all of ${name}`} onPress={cancel}>
              Cancel all
            </Button>
          )}
          {!!counts.completed && (
            <LinkButton href={`/v1/batches/${id}/download`} download="" label={`Save all as ZIP: ${name}`}>
              Save all as ZIP
            </LinkButton>
          )}
        </div>
      </div>
      <div className="strip" aria-hidden="true">
        {jobs.slice(0, MOST_SHOWN).map((job) => {
          const shown = (job.results[0]?.thumbnail_url ?? job.preview_url) as string | undefined;
          return shown && <img key={job.id} src={local(shown)} alt="" loading="lazy" />;
        })}
      </div>
      <details className="more">
        <summary>Each of them</summary>
        <ul className="list">
          {jobs.map((job) => (
            <Row key={job.id} job={job} />
          ))}
        </ul>
      </details>
    </li>
  );
}
