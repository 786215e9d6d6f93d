// Starts the page.
import { render } from "preact";
import { App } from "./views/app.js";
import { startRouting } from "./route.js";
import { restore } from "./session.js";
import "./style/base.css";
import "./style/controls.css";
import "./style/frame.css";
import "./style/jobs.css";
import "./style/job.css";
import "./style/submit.css";
import "./style/map.css";
import "./style/rooms.css";

startRouting();
void restore();
const root = document.getElementById("root");
if (root) render(<App />, root);
