import { useQuery } from "@tanstack/react-query";
import { request, type Schemas, send } from "../../api/client";
import { queryClient } from "../../api/queries";
import { Button, Range } from "../../ui/controls";
import { Failed } from "../../ui/feedback";
import { Table } from "../../ui/table";
import { toastError } from "../../ui/toasts";

/** Versions of engines, who gets a candidate, and the way back. */
export function EngineVersions() {
  const query = useQuery({
    queryKey: ["admin", "models"],
    queryFn: () => request<Schemas["VersionsResponse"]>("GET", "/api/admin/models"),
    refetchInterval: 10_000,
  });
  const change = async (engine: string, action: string, body: unknown) => {
    await send("POST", `/api/admin/models/${engine}/${action}`, { body }).catch(toastError);
    queryClient.invalidateQueries({ queryKey: ["admin", "models"] });
  };
  return (
    <section className="card" aria-labelledby="versions">
      <h2 id="versions">Engine versions</h2>
      {query.isError && <Failed error={query.error} retry={query.refetch} />}
      <Table
        label="Engine versions"
        head={["Engine", "Version", "Role", "Replicas", "Change"]}
        rows={(query.data?.models ?? []).map((one) => [
          `${one.engine}/${one.version}`,
          one.engine,
          one.label ?? one.version,
          one.role,
          `${one.replicas} of ${one.of}`,
          <Change key="change" version={one} change={(action, body) => change(one.engine, action, body)} />,
        ])}
      />
    </section>
  );
}

interface ChangeProps {
  version: Schemas["VersionInfo"];
  change: (action: string, body: unknown) => void;
}

function Change({ version, change }: ChangeProps) {
  if (version.role === "there")
    return <Button onPress={() => change("load", { version: version.version })}>Load</Button>;
  if (version.role !== "candidate") return null;
  return (
    <div className="row">
      <Range
        label="Share"
        value={version.percentage}
        onChange={(percentage) => change("split", { percentage })}
        min={0}
        max={100}
        shown={`${version.percentage} %`}
      />
      <Button onPress={() => change("promote", { version: version.version })}>Promote</Button>
      <Button onPress={() => change("rollback", {})}>Roll back</Button>
    </div>
  );
}
