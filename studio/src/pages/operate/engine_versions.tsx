// Versions of engines, who gets a candidate, and the way back. Engines with one version alone are folded away.
import { type ReactNode, useState } from "react";
import { type Schemas, send } from "../../api/client";
import { Button, SettledRange } from "../../ui/controls";
import { Table } from "../../ui/table";
import { toast } from "../../ui/toasts";
import { attempt, Card, useAdmin } from "./card";
import { VersionReport } from "./version_report";

type Version = Schemas["VersionInfo"];
const RETRAINED = "quality";
const ROLES = { current: "serves", candidate: "on trial", previous: "served before", there: "not loaded" };

export function EngineVersions() {
  const query = useAdmin<Schemas["VersionsResponse"]>("/api/admin/models", undefined, 10_000);
  const [reported, setReported] = useState<string>();
  const change = (engine: string, action: string, body?: unknown) =>
    attempt(async () => {
      await send("POST", `/api/admin/models/${engine}/${action}`, { body });
      if (action === "retrain") toast("success", "It is in the queue; the job says what it does, and why");
    });
  const all = query.data?.models ?? [];
  const isMoving = ({ engine }: Version) =>
    engine === RETRAINED || all.filter((other) => other.engine === engine).length > 1;
  const row = (one: Version): [string, ...ReactNode[]] => [
    `${one.engine}/${one.version}`,
    one.engine,
    one.label ?? one.version,
    one.failure ? (
      <span key="failure" className="wraps error">
        {one.failure}
      </span>
    ) : (
      ROLES[one.role]
    ),
    `${one.replicas} of ${one.of}`,
    <Change
      key="change"
      version={one}
      change={(action, body) => change(one.engine, action, body)}
      report={() => setReported(one.engine)}
    />,
  ];
  const still = all.filter((one) => !isMoving(one));
  return (
    <Card title="Engine versions" query={query}>
      <Table
        label="Engine versions"
        head={["Engine", "Version", "Role", "Replicas", "Change"]}
        rows={all.filter(isMoving).map(row)}
      />
      {still.length > 0 && (
        <details className="more">
          <summary>Engines with one version ({still.length})</summary>
          <Table
            label="Engines with one version"
            head={["Engine", "Version", "Role", "Replicas"]}
            rows={still.map((one) => row(one).slice(0, 5) as [string, ...ReactNode[]])}
          />
        </details>
      )}
      {reported && <VersionReport engine={reported} close={() => setReported(undefined)} />}
    </Card>
  );
}

interface ChangeProps {
  version: Version;
  change: (action: string, body?: unknown) => void;
  report: () => void;
}

function Change({ version, change, report }: ChangeProps) {
  const { engine, role } = version;
  const of = `${engine} ${version.label ?? version.version}`;
  if (role === "current" && engine === RETRAINED)
    return (
      <Button label={`Learn from use: ${of}`} onPress={() => change("retrain")}>
        Learn from use
      </Button>
    );
  if (role === "there" || role === "previous")
    return (
      <Button label={`Load: ${of}`} onPress={() => change("load", { version: version.version })}>
        Load
      </Button>
    );
  if (role !== "candidate") return null;
  return (
    <div className="row fixed">
      <SettledRange
        label={`Users of ${of}`}
        value={version.percentage}
        onSettled={(percentage) => change("split", { percentage })}
        min={0}
        max={100}
        unit="%"
      />
      <Button label={`Promote: ${of}`} onPress={() => change("promote", { version: version.version })}>
        Promote
      </Button>
      <Button label={`Roll back: ${of}`} onPress={() => change("rollback", {})}>
        Roll back
      </Button>
      <Button label={`Compare: ${of}`} onPress={report}>
        Compare
      </Button>
    </div>
  );
}
