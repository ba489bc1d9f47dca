import { createRoot } from "react-dom/client";

import Shop from "./shop";
import "./site.css";

createRoot(document.getElementById("root")).render(<Shop />);
