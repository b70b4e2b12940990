// The labeller.
import { LabellerView } from "./labeller_view.js";

export default class extends LabellerView {
  close() {
    this.detach();
  }
}
