import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { request, type Schemas, send } from "../../api/client";
import { queryClient } from "../../api/queries";
import { Button, Range } from "../../ui/controls";
import { Failed } from "../../ui/feedback";
import { Table } from "../../ui/table";
import { toast, toastError } from "../../ui/toasts";
import { VersionReport } from "./version_report";

/** Versions of engines, who gets a candidate, and the way back. */
export function EngineVersions() {
  const query = useQuery({
    queryKey: ["admin", "models"],
    queryFn: () => request<Schemas["VersionsResponse"]>("GET", "/api/admin/models"),
    refetchInterval: 10_000,
  });
  const [reported, setReported] = useState<string>();
  const change = async (engine: string, action: string, body: unknown) => {
    try {
      await send("POST", `/api/admin/models/${engine}/${action}`, { body });
      if (action === "retrain") toast("success", "It is in the queue; the job says what it does, and why");
    } catch (error) {
      toastError(error);
    }
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
          <Change
            key="change"
            version={one}
            change={(action, body) => change(one.engine, action, body)}
            report={() => setReported(one.engine)}
          />,
        ])}
      />
      {reported && <VersionReport engine={reported} close={() => setReported(undefined)} />}
    </section>
  );
}

interface ChangeProps {
  version: Schemas["VersionInfo"];
  change: (action: string, body: unknown) => void;
  report: () => void;
}

const RETRAINED = "quality";

function Change({ version, change, report }: ChangeProps) {
  if (version.role === "current" && version.engine === RETRAINED)
    return <Button onPress={() => change("retrain", undefined)}>Learn from use</Button>;
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
      <Button onPress={report}>Compare</Button>
    </div>
  );
}
