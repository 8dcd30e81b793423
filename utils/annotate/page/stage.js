// The page's three parts that keep something of their own: the picture on the screen, the hand over it, the list.

import { $ } from "./dom.js";
import { PictureList } from "./picture_list.js";
import { Hand } from "./pointer.js";
import { View } from "./view.js";

export const view = new View($("stage"), $("tools"), $("base"), $("still"), $("masks"), $("overlay"));
export const hand = new Hand($("overlay"), view);
export const list = new PictureList();
