// Before and after: answers of several models to one prompt.
import { ComparisonView } from "./comparison_view.js";

export default ComparisonView;
