// Groups of users by what they do, in figures alone.
import { useQueries } from "@tanstack/react-query";
import { request, type Schemas } from "../../api/client";
import { Failed, Skeletons } from "../../ui/feedback";
import { Table } from "../../ui/table";

const COHORTS = [
  { id: "all", name: "All who have drawn" },
  { id: "active", name: "Active: feedback within 7 days" },
  { id: "new", name: "New: the first picture within 7 days" },
  { id: "silent", name: "Silent: never any feedback" },
];

export function Cohorts() {
  const found = useQueries({
    queries: COHORTS.map(({ id }) => ({
      queryKey: ["admin", "cohort", id],
      queryFn: () => request<Schemas["CohortResponse"]>("GET", `/api/admin/cohorts/${id}`),
      refetchInterval: 60_000,
    })),
  });
  const failed = found.find(({ isError }) => isError);
  return (
    <section className="card" aria-label="Groups of users">
      <h2>Groups of users</h2>
      {found.some(({ isPending }) => isPending) && <Skeletons count={2} className="line" />}
      {failed && <Failed error={failed.error} retry={failed.refetch} />}
      <Table
        label="Groups of users"
        head={["Group", "Users", "Pictures", "Pictures a user", "Feedback", "Feedback a picture", "Mean stars"]}
        rows={COHORTS.flatMap(({ id, name }, index) => {
          const data = found[index]?.data;
          if (!data) return [];
          return [
            [
              id,
              name,
              `${data.users} of ${data.usersOfSite}`,
              String(data.generations),
              mean(data.generationsPerUser),
              said(data.feedback),
              mean(data.feedbackPerGeneration),
              mean(data.meanStars),
            ],
          ] as [string, ...string[]][];
        })}
      />
    </section>
  );
}

const mean = (value: number | null) => (value === null ? "–" : value.toFixed(2));
const said = (events: Record<string, number>) =>
  Object.entries(events)
    .map(([kind, count]) => `${count} ${kind}`)
    .join(", ") || "none";
