// How subjects stand to each other, which says where they are.
import { newKey } from "../../api/queries";
import { Button, Choice } from "../../ui/controls";
import { RemoveButton } from "../../ui/remove_button";
import type { Part, Relationship } from "./layout";

interface Props {
  subjects: Part[];
  relations: string[];
  relationships: Relationship[];
  most: number;
  change: (relationships: Relationship[]) => void;
}

export function Relationships({ subjects, relations, relationships, most, change }: Props) {
  const names = subjects.map((part) => ({ id: part.key, name: part.name.trim() || "unnamed" }));
  const [first, second] = subjects;
  const edit = (key: string, next: Partial<Relationship>) =>
    change(relationships.map((one) => (one.key === key ? { ...one, ...next } : one)));
  return (
    <fieldset className="card part">
      <legend>Relationships</legend>
      {relationships.map(({ key, subject, relation, object }, index) => (
        <div key={key} className="row related">
          <Choice
            label={`Who ${index + 1}`}
            value={subject}
            onChange={(id) => edit(key, { subject: id })}
            options={names}
          />
          <Choice
            label={`Relation ${index + 1}`}
            value={relation}
            onChange={(id) => edit(key, { relation: id })}
            options={relations.map((id) => ({ id, name: id }))}
          />
          <Choice
            label={`Whom ${index + 1}`}
            value={object}
            onChange={(id) => edit(key, { object: id })}
            options={names}
          />
          <RemoveButton
            label={`Remove relationship ${index + 1}`}
            onPress={() => change(relationships.filter((one) => one.key !== key))}
          />
        </div>
      ))}
      <Button
        isDisabled={relationships.length >= most}
        onPress={() =>
          first &&
          second &&
          change([
            ...relationships,
            { key: newKey(), subject: first.key, relation: relations[0] ?? "left of", object: second.key },
          ])
        }
      >
        Add a relationship
      </Button>
    </fieldset>
  );
}
