// Starts the page.
import { render } from "preact";
import { App } from "./views/app.js";
import { startRouting } from "./route.js";
import { restore } from "./session.js";
import "./style.css";

startRouting();
void restore();
const root = document.getElementById("root");
if (root) render(<App />, root);
