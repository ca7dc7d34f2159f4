// PostGraphile over the views' own tables, as it comes, but that any column may order a list: see benches/reads.rs.
import { makePgService } from "postgraphile/adaptors/pg";
import { PostGraphileAmberPreset } from "postgraphile/presets/amber";

/** @type {GraphileConfig.Preset} */
export default {
  extends: [PostGraphileAmberPreset],
  disablePlugins: ["PgIndexBehaviorsPlugin"],
  pgServices: [makePgService({ connectionString: process.env.DATABASE_URL, schemas: ["entrenous_views"] })],
  grafserv: { port: Number(process.env.PORT), graphiql: false },
};
