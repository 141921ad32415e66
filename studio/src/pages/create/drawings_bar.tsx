// Over the drawings: all of them as a ZIP, or out of sight.
import { useQueries } from "@tanstack/react-query";
import { request, withQuery } from "../../api/client";
import type { Job } from "../../api/queries";
import { Button, LinkButton } from "../../ui/controls";
import { counted } from "../../ui/format";

interface Props {
  drawings: string[];
  clear: () => void;
}

export function DrawingsBar({ drawings, clear }: Props) {
  // What the drawings themselves have asked for; nothing is asked for here.
  const jobs = useQueries({
    queries: drawings.map((id) => ({
      queryKey: ["job", id],
      queryFn: () => request<Job>("GET", `/v1/jobs/${id}`),
      enabled: false,
    })),
  });
  const made = jobs.flatMap(({ data }) => (data?.status === "completed" && data.results.length ? [data.id] : []));
  return (
    <div className="row spread drawings-bar">
      <p className="muted" role="status">
        {made.length === drawings.length
          ? counted(made.length, "picture")
          : `${made.length} of ${counted(drawings.length, "picture")} drawn`}
      </p>
      <div className="actions">
        {made.length > 1 && (
          <LinkButton href={withQuery("/v1/generations/download", { ids: made.join(",") })} download="">
            Save all as ZIP
          </LinkButton>
        )}
        <Button quiet onPress={clear}>
          Clear
        </Button>
      </div>
    </div>
  );
}
