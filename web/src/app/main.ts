/** The app at `/`. */

import '../styles/tokens.css';
import '../styles/base.css';

import { mount } from 'svelte';

import { keepTheme } from '../settings/theme';
import App from './App.svelte';

keepTheme();
mount(App, { target: document.getElementById('app')! });
