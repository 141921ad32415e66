// Who changed what, the newest first.
import { useInfiniteQuery } from "@tanstack/react-query";
import { useState } from "react";
import { request, type Schemas } from "../../api/client";
import { Button, Text } from "../../ui/controls";
import { when } from "../../ui/format";
import { useSettled } from "../../ui/settled";
import { Table } from "../../ui/table";
import { Card } from "./card";

export function Audit() {
  const [user, setUser] = useState("");
  const [action, setAction] = useState("");
  const filter = useSettled({ user_id: user.trim() || undefined, action: action.trim() || undefined });
  const query = useInfiniteQuery({
    queryKey: ["admin", "audit", filter.user_id, filter.action],
    queryFn: ({ pageParam }) =>
      request<Schemas["AuditResponse"]>("GET", "/api/admin/audit", {
        query: { ...filter, limit: 50, cursor: pageParam },
      }),
    initialPageParam: null as string | null,
    getNextPageParam: (page) => page.next_cursor,
  });
  const entries = query.data?.pages.flatMap((page) => page.entries) ?? [];
  return (
    <Card title="Audit log" query={query}>
      <div className="row">
        <Text label="Who" value={user} onChange={setUser} placeholder="any user" />
        <Text label="What" value={action} onChange={setAction} placeholder="any, such as key.create" />
      </div>
      {query.data && entries.length === 0 && <p className="muted">No entry is like this.</p>}
      {entries.length > 0 && (
        <Table
          label="Audit log"
          head={["When", "Who", "What", "Subject", "Details", "From"]}
          rows={entries.map((entry) => [
            String(entry.seq),
            when(entry.created_at),
            entry.user_id ?? "–",
            entry.action,
            entry.subject ?? "–",
            <span key="details" className="wraps">
              {details(entry.details)}
            </span>,
            entry.address ?? "–",
          ])}
        />
      )}
      {query.hasNextPage && (
        <div className="actions">
          <Button onPress={() => query.fetchNextPage()} isDisabled={query.isFetchingNextPage}>
            Show older ones
          </Button>
        </div>
      )}
    </Card>
  );
}

const details = (of: unknown) =>
  Object.entries((of ?? {}) as Record<string, unknown>)
    .filter(([, value]) => value !== null && value !== "" && value !== "None")
    .map(([name, value]) => `${name.replaceAll("_", " ")}: ${Array.isArray(value) ? value.join(", ") : value}`)
    .join("; ") || "–";
