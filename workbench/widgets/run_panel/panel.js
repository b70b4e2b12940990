// The run panel as a widget of its own; the table of runs shows the same one below itself.
import { Panel } from "./panel_view.js";

export default Panel;
